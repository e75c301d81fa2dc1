//! The SOAP codec: calls into envelopes, envelopes into values and faults.

mod decode;
mod encode;

use crate::fault::Fault;
use crate::value::Value;

pub(crate) use decode::decode;
pub(crate) use encode::encode;

/// What a server answered.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The call was refused.
    Fault(Fault),
    /// The results: none for a void method or an unset result, several for an array.
    Values(Vec<Value>),
}

/// Why an answer is not one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DecodeError {
    #[error("the answer carries a document type declaration")]
    DocumentType,
    #[error("the answer is an HTML page, not a SOAP envelope: is this a vSphere server?")]
    Html,
    #[error("the answer is nested more than {DEPTH_MAX} levels deep")]
    TooDeep,
    #[error("the answer has more than {NODES_MAX} elements")]
    TooManyNodes,
    #[error("the answer is not a SOAP envelope: is this a vSphere server?")]
    NotAnEnvelope,
    #[error("the answer is cut off")]
    Truncated,
    #[error("the answer is not well-formed XML: {0}")]
    Xml(String),
}

/// Why a call cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("character U+{0:04X} cannot be sent")]
pub(crate) struct EncodeError(u32);

const NS_ENVELOPE: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const NS_VIM: &str = "urn:vim25";
const NS_XSD: &str = "http://www.w3.org/2001/XMLSchema";
const NS_XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";
/// Elements inside elements.  The deepest real trees are import specs and snapshot trees, tens of
/// levels; the tree is dropped and compared by recursion, so it must be far below a thread's stack.
const DEPTH_MAX: usize = 200;
/// Elements of one answer.  A page of properties has at most some ten thousand.
const NODES_MAX: usize = 1_000_000;
