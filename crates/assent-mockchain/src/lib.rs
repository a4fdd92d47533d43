//! Mock base chain.
