//! Metrics of the gate: connections, calls, and what was turned away.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::ReasonLabel;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabel {
    method: &'static str,
    code: &'static str,
}

/// Why calls are turned away; what is not here is counted as `other`.
pub const REFUSED_CALLS: [&str; 10] = [
    "CREDENTIAL_REQUIRED",
    "CREDENTIAL_UNKNOWN",
    "METHOD_UNKNOWN",
    "QUERY_INVALID",
    "QUERY_REPLAYED",
    "RATE_LIMITED",
    "ROLE_REQUIRED",
    "TOO_MANY_CALLS",
    "TOO_MANY_READS",
    "other",
];
/// Why connections are turned away.
const REFUSED_CONNECTIONS: [&str; 5] =
    ["limit", "address_limit", "handshake", "handshake_timeout", "nobody_known"];

/// Connections, calls, and what was turned away.
#[derive(Debug)]
pub struct Gate {
    calls: Family<CallLabel, Counter>,
    refused_calls: Family<ReasonLabel, Counter>,
    refused_connections: Family<ReasonLabel, Counter>,
    /// Open connections.
    pub connections: Gauge,
    /// Calls under way, open streams among them.
    pub open_calls: Gauge,
    /// Bytes of messages that have arrived in part.
    pub receiving_bytes: Gauge,
    /// Connections closed because nobody read what was sent.
    pub slow_readers: Counter,
    /// Latest second, since 1970, at which a certificate that this process shows is valid; 0 without TLS.
    pub certificate_expiry: Gauge,
}

impl Gate {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let gate = Self {
            calls: Family::default(),
            refused_calls: Family::default(),
            refused_connections: Family::default(),
            connections: Gauge::default(),
            open_calls: Gauge::default(),
            receiving_bytes: Gauge::default(),
            slow_readers: Counter::default(),
            certificate_expiry: Gauge::default(),
        };
        // Begun at 0, so that the first refusal is seen as an increase.
        for reason in REFUSED_CALLS {
            drop(gate.refused_calls.get_or_create(&ReasonLabel { reason }));
        }
        for reason in REFUSED_CONNECTIONS {
            drop(gate.refused_connections.get_or_create(&ReasonLabel { reason }));
        }
        registry.register(
            "assent_calls",
            "Calls answered, by method and gRPC code; a stream counts when it begins",
            gate.calls.clone(),
        );
        registry.register(
            "assent_calls_refused",
            "Calls turned away before they reached a service, by reason",
            gate.refused_calls.clone(),
        );
        registry.register(
            "assent_connections_refused",
            "Connections turned away, by reason",
            gate.refused_connections.clone(),
        );
        registry.register("assent_connections", "Open connections", gate.connections.clone());
        registry.register(
            "assent_calls_open",
            "Calls under way, open streams among them",
            gate.open_calls.clone(),
        );
        registry.register(
            "assent_receiving_bytes",
            "Bytes set aside for messages that have arrived in part",
            gate.receiving_bytes.clone(),
        );
        registry.register(
            "assent_slow_readers_dropped",
            "Connections closed because nobody read what was sent",
            gate.slow_readers.clone(),
        );
        registry.register(
            "assent_certificate_expiry_timestamp_seconds",
            "When the certificate that this process shows expires; 0 without TLS",
            gate.certificate_expiry.clone(),
        );
        gate
    }

    /// A call was answered.
    pub fn answered(&self, method: &'static str, code: &'static str) {
        self.calls.get_or_create(&CallLabel { method, code }).inc();
    }

    /// A call was turned away.
    pub fn refused_call(&self, reason: &'static str) {
        self.refused_calls.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// A connection was turned away.
    pub fn refused_connection(&self, reason: &'static str) {
        self.refused_connections.get_or_create(&ReasonLabel { reason }).inc();
    }
}
