//! What a relayed transaction must look like beside being valid (Core's `IsStandardTx`).

use bitcoin::Transaction;

use crate::error::Reject;
use crate::params::{
    MAX_OP_RETURN_SCRIPT, MAX_STANDARD_SCRIPTSIG_SIZE, MAX_STANDARD_TX_WEIGHT,
    MIN_STANDARD_TX_NONWITNESS_SIZE,
};
use crate::script::ScriptKind;

pub(crate) fn check_standard(tx: &Transaction) -> Result<(), Reject> {
    if !(1..=3).contains(&tx.version.0) {
        return Err(Reject::new("version"));
    }
    if tx.weight().to_wu() > MAX_STANDARD_TX_WEIGHT {
        return Err(Reject::new("tx-size"));
    }
    for input in &tx.input {
        if input.script_sig.len() > MAX_STANDARD_SCRIPTSIG_SIZE {
            return Err(Reject::new("scriptsig-size"));
        }
        if !input.script_sig.is_push_only() {
            return Err(Reject::new("scriptsig-not-pushonly"));
        }
    }
    let mut op_returns = 0;
    let mut dust = 0;
    for output in &tx.output {
        let script = &output.script_pubkey;
        match ScriptKind::of(script) {
            ScriptKind::NonStandard => return Err(Reject::new("scriptpubkey")),
            ScriptKind::NullData => {
                if script.len() > MAX_OP_RETURN_SCRIPT {
                    return Err(Reject::new("datacarrier"));
                }
                op_returns += 1;
            }
            _ => {}
        }
        if output.value < output.script_pubkey.minimal_non_dust() {
            dust += 1;
        }
    }
    if op_returns > 1 {
        return Err(Reject::new("multi-op-return"));
    }
    if dust > 0 {
        // Core lets one dust output pass in a package that spends it; the mock takes no packages.
        return Err(Reject::new("dust"));
    }
    if tx.base_size() < MIN_STANDARD_TX_NONWITNESS_SIZE {
        return Err(Reject::new("tx-size-small"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::hashes::Hash;
    use bitcoin::script::PushBytesBuf;
    use bitcoin::transaction::Version;
    use bitcoin::{Amount, OutPoint, ScriptBuf, TxIn, TxOut, Txid, WPubkeyHash};

    use super::*;

    fn paying(outputs: Vec<(u64, ScriptBuf)>) -> Transaction {
        Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn { previous_output: OutPoint::new(Txid::all_zeros(), 0), ..TxIn::default() }],
            output: outputs
                .into_iter()
                .map(|(value, script_pubkey)| TxOut { value: Amount::from_sat(value), script_pubkey })
                .collect(),
        }
    }

    fn op_return(len: usize) -> ScriptBuf {
        ScriptBuf::new_op_return(PushBytesBuf::try_from(vec![7; len]).unwrap())
    }

    fn reason(outputs: Vec<(u64, ScriptBuf)>) -> String {
        check_standard(&paying(outputs)).unwrap_err().reason.into_owned()
    }

    #[test]
    fn one_op_return_of_80_bytes_is_standard_and_no_more() {
        let change = || (294, ScriptBuf::new_p2wpkh(&WPubkeyHash::all_zeros()));
        check_standard(&paying(vec![(0, op_return(80)), change()])).unwrap();
        assert_eq!(reason(vec![(0, op_return(81)), change()]), "datacarrier");
        assert_eq!(reason(vec![(0, op_return(1)), (0, op_return(1)), change()]), "multi-op-return");
    }

    #[test]
    fn an_output_below_the_cost_of_spending_it_is_dust() {
        let p2wpkh = || ScriptBuf::new_p2wpkh(&WPubkeyHash::all_zeros());
        check_standard(&paying(vec![(294, p2wpkh())])).unwrap();
        assert_eq!(reason(vec![(293, p2wpkh())]), "dust");
        assert_eq!(reason(vec![(1_000, ScriptBuf::from_bytes(vec![0x51]))]), "scriptpubkey");
        assert_eq!(reason(vec![(0, op_return(0))]), "tx-size-small");
    }
}
