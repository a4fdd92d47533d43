//! JSON-RPC: requests, batches and the table of methods.
//!
//! Versions 1.0, 1.1 and 2.0 as Core answers them: a 1.x error has its own HTTP status, a 2.0 error comes with 200, and
//! a 2.0 request without an id is a notification that gets no answer.

pub(crate) mod answer;
mod args;
mod blockchain;
mod control;
mod describe;
mod error;
mod mempool;
mod mining;
mod transactions;

use serde_json::Value;

use self::answer::{Answer, object};
use self::args::{Args, Param};
use self::error::RpcError;
use crate::fault::FaultKind;
use crate::handle::MockChain;
use crate::params::MAX_BATCH;

/// What goes back over HTTP.
pub(crate) enum Outcome {
    /// A status and a JSON text.
    Answer { status: u16, body: String },
    /// Every request was a notification.
    Empty,
    /// A fault: HTTP 503.
    Busy,
    /// A fault: no answer at all.
    Drop,
}

/// A method.
pub(crate) struct Command {
    name: &'static str,
    params: &'static [Param],
    about: &'static str,
    run: fn(&MockChain, &Args) -> Result<Answer, RpcError>,
}

impl Command {
    fn usage(&self) -> String {
        let mut text = self.name.to_owned();
        for param in self.params {
            let name = param.names.split('|').next().unwrap_or_default();
            text.push_str(&if param.required { format!(" {name}") } else { format!(" ( {name} )") });
        }
        format!("{text}\n\n{}\n", self.about)
    }
}

/// All methods, sorted by group and name.
fn commands() -> impl Iterator<Item = &'static Command> {
    [blockchain::COMMANDS, control::COMMANDS, mempool::COMMANDS, mining::COMMANDS, transactions::COMMANDS]
        .into_iter()
        .flatten()
}

/// Executes the body of a request.
pub(crate) fn execute(chain: &MockChain, body: &[u8]) -> Outcome {
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Array(requests)) => execute_batch(chain, requests),
        Ok(request @ Value::Object(_)) => execute_single(chain, request),
        Ok(_) => refuse(&Header::default(), &RpcError::new(RpcError::PARSE, "Top-level object parse error")),
        Err(_) => refuse(&Header::default(), &RpcError::new(RpcError::PARSE, "Parse error")),
    }
}

fn execute_single(chain: &MockChain, request: Value) -> Outcome {
    let (header, parsed) = parse(request);
    let call = match parsed {
        Ok(call) => call,
        Err(error) => return refuse(&header, &error),
    };
    let result = match run(chain, call) {
        Ok(result) => result,
        Err(FaultKind::Busy) => return Outcome::Busy,
        Err(_) => return Outcome::Drop,
    };
    if header.is_notification() {
        return Outcome::Empty;
    }
    match result {
        Err(error) if !header.v2 => refuse(&header, &error),
        result => answer(200, &reply(&header, result)),
    }
}

fn execute_batch(chain: &MockChain, requests: Vec<Value>) -> Outcome {
    if requests.len() > MAX_BATCH {
        let text = format!("a batch may hold {MAX_BATCH} requests, found {}", requests.len());
        return refuse(&Header::default(), &RpcError::new(RpcError::INVALID_REQUEST, text));
    }
    let is_empty = requests.is_empty();
    let mut replies = Vec::with_capacity(requests.len());
    for request in requests {
        let (header, parsed) = parse(request);
        let result = match parsed.map(|call| run(chain, call)) {
            Ok(Ok(result)) => result,
            Ok(Err(FaultKind::Busy)) => return Outcome::Busy,
            Ok(Err(_)) => return Outcome::Drop,
            Err(error) => Err(error),
        };
        if !header.is_notification() {
            replies.push(reply(&header, result));
        }
    }
    if replies.is_empty() && !is_empty {
        return Outcome::Empty;
    }
    answer(200, &Answer::List(replies))
}

/// What a reply repeats of its request.
struct Header {
    id: Option<Value>,
    v2: bool,
}

impl Default for Header {
    /// That of a request which could not be read: as Core's, it has an id, which is null.
    fn default() -> Self {
        Self { id: Some(Value::Null), v2: false }
    }
}

impl Header {
    fn is_notification(&self) -> bool {
        self.v2 && self.id.is_none()
    }
}

struct Call {
    method: String,
    params: Value,
}

/// Reads a request in Core's order, so that an error knows as much of the header as Core's would.
fn parse(request: Value) -> (Header, Result<Call, RpcError>) {
    let mut header = Header::default();
    let call = parse_into(request, &mut header);
    (header, call.map_err(|text| RpcError::new(RpcError::INVALID_REQUEST, text)))
}

fn parse_into(request: Value, header: &mut Header) -> Result<Call, &'static str> {
    let Value::Object(mut request) = request else { return Err("Invalid Request object") };
    header.id = request.remove("id");
    match request.remove("jsonrpc") {
        None | Some(Value::Null) => {}
        Some(Value::String(version)) => match version.as_str() {
            "1.0" => {}
            "2.0" => header.v2 = true,
            _ => return Err("JSON-RPC version not supported"),
        },
        Some(_) => return Err("jsonrpc field must be a string"),
    }
    let method = match request.remove("method") {
        None | Some(Value::Null) => return Err("Missing method"),
        Some(Value::String(method)) => method,
        Some(_) => return Err("Method must be a string"),
    };
    let params = match request.remove("params") {
        None | Some(Value::Null) => Value::Array(Vec::new()),
        Some(params @ (Value::Array(_) | Value::Object(_))) => params,
        Some(_) => return Err("Params must be an array or object"),
    };
    Ok(Call { method, params })
}

/// Runs a call, its faults included; the outer error is a fault that leaves no answer.
fn run(chain: &MockChain, call: Call) -> Result<Result<Answer, RpcError>, FaultKind> {
    let Some(command) = commands().find(|command| command.name == call.method) else {
        return Ok(Err(RpcError::new(RpcError::METHOD_NOT_FOUND, "Method not found")));
    };
    let fault = chain.node().faults.take(command.name);
    let execute = || {
        let args = Args::new(command.params, call.params, &|| command.usage())?;
        (command.run)(chain, &args)
    };
    let result = match fault {
        Some(kind) if !kind.is_done() => None,
        _ => Some(execute()),
    };
    match (fault, result) {
        (None, Some(result)) => Ok(result),
        (Some(FaultKind::Error | FaultKind::DoneButError), _) | (None, None) => {
            Ok(Err(RpcError::new(RpcError::MISC, "mock fault")))
        }
        (Some(kind), _) => Err(kind),
    }
}

fn reply(header: &Header, result: Result<Answer, RpcError>) -> Answer {
    let mut reply = Answer::Object(Vec::new());
    if header.v2 {
        reply.push("jsonrpc", "2.0");
    }
    match result {
        Ok(result) => {
            reply.push("result", result);
            if !header.v2 {
                reply.push("error", Answer::Null);
            }
        }
        Err(error) => {
            if !header.v2 {
                reply.push("result", Answer::Null);
            }
            reply.push("error", object! { "code": error.code, "message": error.message });
        }
    }
    if let Some(id) = &header.id {
        reply.push("id", Answer::Echo(id.clone()));
    }
    reply
}

/// An error with the HTTP status Core gives it.
fn refuse(header: &Header, error: &RpcError) -> Outcome {
    let status = match error.code {
        RpcError::INVALID_REQUEST => 400,
        RpcError::METHOD_NOT_FOUND => 404,
        _ => 500,
    };
    answer(status, &reply(header, Err(error.clone())))
}

fn answer(status: u16, answer: &Answer) -> Outcome {
    let mut body = String::new();
    answer.write(&mut body);
    body.push('\n');
    Outcome::Answer { status, body }
}
