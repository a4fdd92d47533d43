//! `help`, `uptime`, `stop`, `getnetworkinfo` and the mock's own `mockfault`.

use super::answer::{Answer, object};
use super::args::{Args, Kind, optional, required};
use super::error::RpcError;
use super::{Command, commands};
use crate::fault::FaultKind;
use crate::handle::MockChain;
use crate::params::{INCREMENTAL_RELAY_FEERATE, MIN_RELAY_FEERATE};

/// The version of Core whose answers these are.
const CLIENT_VERSION: u32 = 310_000;
/// The name a node would give its peers.
const SUBVERSION: &str = "/Satoshi:31.0.0(assent-mockchain)/";
/// Core's P2P protocol version.
const PROTOCOL_VERSION: u32 = 70_016;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "getnetworkinfo",
        params: &[],
        about: "What a node says of itself; this one has no peers.",
        run: get_network_info,
    },
    Command {
        name: "help",
        params: &[optional("command", Kind::Text)],
        about: "All commands, or how to use one.",
        run: help,
    },
    Command {
        name: "mockfault",
        params: &[
            required("method", Kind::Text),
            required("kind", Kind::Text),
            optional("count", Kind::Number),
        ],
        about: "The next count (1) calls of method go wrong: error, drop, busy, done_but_error or done_but_drop.",
        run: mock_fault,
    },
    Command {
        name: "stop",
        params: &[optional("wait", Kind::Number)],
        about: "Stops the server once calls under way are answered.",
        run: stop,
    },
    Command { name: "uptime", params: &[], about: "Seconds since the chain was opened.", run: uptime },
];

fn get_network_info(_: &MockChain, _: &Args) -> Result<Answer, RpcError> {
    let networks = ["ipv4", "ipv6", "onion", "i2p", "cjdns"].map(|name| {
        object! {
            "name": name,
            "limited": true,
            "reachable": false,
            "proxy": "",
            "proxy_randomize_credentials": false,
        }
    });
    Ok(object! {
        "version": CLIENT_VERSION,
        "subversion": SUBVERSION,
        "protocolversion": PROTOCOL_VERSION,
        "localservices": "0000000000000000",
        "localservicesnames": Vec::new(),
        "localrelay": true,
        "timeoffset": 0u32,
        "networkactive": false,
        "connections": 0u32,
        "connections_in": 0u32,
        "connections_out": 0u32,
        "networks": networks.to_vec(),
        "relayfee": Answer::Amount(MIN_RELAY_FEERATE),
        "incrementalfee": Answer::Amount(INCREMENTAL_RELAY_FEERATE),
        "localaddresses": Vec::new(),
        "warnings": Vec::new(),
    })
}

fn help(_: &MockChain, args: &Args) -> Result<Answer, RpcError> {
    let Some(_) = args.get(0) else {
        let usages: Vec<String> =
            commands().map(|command| command.usage().lines().next().unwrap_or_default().to_owned()).collect();
        return Ok(usages.join("\n").into());
    };
    let name = args.text(0)?;
    Ok(match commands().find(|command| command.name == name) {
        Some(command) => command.usage().into(),
        None => format!("help: unknown command: {name}").into(),
    })
}

fn mock_fault(chain: &MockChain, args: &Args) -> Result<Answer, RpcError> {
    let method = args.text(0)?;
    if !commands().any(|command| command.name == method) {
        let text = format!("{method} is no method, so it can have no fault");
        return Err(RpcError::new(RpcError::INVALID_PARAMETER, text));
    }
    let kind: FaultKind = args.text(1)?.parse()?;
    let count = if args.get(2).is_some() { args.int(2)? } else { 1 };
    let count = u64::try_from(count)
        .map_err(|_| RpcError::new(RpcError::INVALID_PARAMETER, "count must not be negative"))?;
    chain.node().faults.set(method, kind, count);
    Ok(Answer::Null)
}

fn stop(chain: &MockChain, _: &Args) -> Result<Answer, RpcError> {
    chain.stop();
    Ok("Bitcoin Core stopping".into())
}

fn uptime(chain: &MockChain, _: &Args) -> Result<Answer, RpcError> {
    Ok(chain.uptime().as_secs().into())
}
