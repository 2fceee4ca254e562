//! Authentication of calls: from the head of a request as far as possible, then from the hash of its body and the stream that it names.
//!
//! A caller without a valid signature cannot distinguish existing from missing streams: both get the same response, after
//! the same work.

use std::sync::Arc;

use axum::http::request::Parts;
use bytes::Bytes;
use forebay_core::{Error, Result, Secret};
use forebay_pipeline::spec::PipelineSpec;

use super::operation::{Encoding, Operation};
use super::scan;
use super::sigv4::{self, Claim, Signed};
use crate::peers::PeerKey;
use crate::state::{State, draining};

/// Tokens that a signature is compared with when it is not that of the stream it names.
const TOKENS_TRIED_MAX: usize = 1_000;

/// The permissions of a caller.
#[derive(Debug, Default)]
pub(super) struct Admitted {
    /// The stream that the request names; empty when the operation names none.
    pub(super) stream: String,
    /// Every stream that the caller may use, for operations that list them.
    pub(super) streams: Vec<String>,
    /// The signature that was right, when the stream needs one.
    pub(super) signed: Option<Signed>,
    /// Whether the signature covers the SDK's name of the call, or nobody needs one.
    pub(super) is_invocation_signed: bool,
}

/// How the pipelines of this server take calls.
struct Doors {
    has_open: bool,
    has_token: bool,
}

impl Doors {
    fn of(state: &State) -> Self {
        let mut has_open = false;
        let mut has_token = false;
        for spec in specs(state) {
            match door(&spec) {
                Some(None) => has_open = true,
                Some(Some(_)) => has_token = true,
                None => {}
            }
        }
        Self {
            has_open,
            has_token,
        }
    }
}

fn specs(state: &State) -> impl Iterator<Item = Arc<PipelineSpec>> {
    let all = state.registry().all();
    all.into_iter().map(|status| status.spec)
}

/// The token of a pipeline that takes calls, if it has one; `None` for one that takes none.
fn door(spec: &PipelineSpec) -> Option<Option<&Secret>> {
    match &spec.source.push()?.auth {
        None => Some(None),
        Some(auth) => Some(Some(auth.token.as_ref()?)),
    }
}

/// The claims of the head; `None` for a call without a signature, which a pipeline without `auth` may accept.
///
/// Errors: `Denied` `missing_signature`, `bad_signature`; `NotFound` `no_aws_door`; `Unavailable` `draining`, `too_many_failures`.
pub(super) fn before_body(
    state: &State,
    parts: &Parts,
    operation: Operation,
    peer: PeerKey,
) -> Result<Option<Claim>> {
    if state.is_draining() {
        return Err(draining());
    }
    state.check_failures(peer)?;
    let doors = Doors::of(state);
    if !doors.has_open && !doors.has_token {
        let what = "no pipeline of this server accepts calls of AWS clients";
        return Err(Error::not_found("no_aws_door", what).with_hint(
            "they need a pipeline whose source is `push` with `auth: {token: …}`, or without `auth`",
        ));
    }
    let claim = Claim::of(parts, operation.service(), state.clock().now());
    match claim {
        Ok(None) if !doors.has_open => Err(sigv4::missing()),
        // A pipeline without `auth` checks no signature.
        Err(_) if doors.has_open && !doors.has_token => Ok(None),
        claim => claim,
    }
}

/// Errors: `Denied` `missing_signature`, `bad_signature`; `NotFound` `no_such_pipeline`; `Data` `bad_request`, `bad_name`.
pub(super) async fn admit(
    state: &State,
    claim: Option<Claim>,
    operation: Operation,
    encoding: Encoding,
    body: Bytes,
) -> Result<Admitted> {
    let examiners = state.examiners();
    let bytes = body.len();
    let state = state.clone();
    let work = move || {
        let examined = Examined {
            state: &state,
            signed: claim.as_ref().map(|claim| claim.with_body(&body)),
            is_invocation_signed: claim
                .as_ref()
                .is_some_and(|claim| claim.signs("amz-sdk-invocation-id")),
        };
        if operation.lists() {
            examined.list()
        } else {
            examined.open(scan::stream(encoding, &body)?)
        }
    };
    examiners.run(bytes, work).await
}

/// A call whose body has come.
struct Examined<'a> {
    state: &'a State,
    signed: Option<Signed>,
    is_invocation_signed: bool,
}

impl Examined<'_> {
    /// The call to one stream.
    fn open(self, stream: String) -> Result<Admitted> {
        let spec = self.state.registry().spec(&stream);
        let is_signed_by = |token: &Secret| {
            self.signed
                .as_ref()
                .is_some_and(|signed| signed.is_by(token))
        };
        match spec.as_deref().and_then(door) {
            Some(None) => Ok(Admitted {
                stream,
                is_invocation_signed: true,
                ..Admitted::default()
            }),
            Some(Some(token)) if is_signed_by(token) => Ok(Admitted {
                stream,
                is_invocation_signed: self.is_invocation_signed,
                signed: self.signed,
                ..Admitted::default()
            }),
            _ => Err(self.refused(&stream)),
        }
    }

    /// The same for a stream that is not there and for one of another token.
    fn refused(&self, stream: &str) -> Error {
        let tokens = self.tokens();
        let is_known = match &self.signed {
            Some(signed) => tokens.iter().fold(false, |is_known, spec| {
                let token = door(spec).flatten();
                is_known | token.is_some_and(|token| signed.is_by(token))
            }),
            None => tokens.is_empty(),
        };
        match &self.signed {
            _ if is_known || tokens.is_empty() => {
                let what = format!("stream `{stream}` not found, or this caller may not use it");
                Error::not_found("no_such_pipeline", what)
            }
            Some(_) => sigv4::wrong("the signature does not match"),
            None => sigv4::missing(),
        }
    }

    /// Pipelines with a token.
    fn tokens(&self) -> Vec<Arc<PipelineSpec>> {
        let with_token = specs(self.state).filter(|spec| door(spec).flatten().is_some());
        with_token.take(TOKENS_TRIED_MAX).collect()
    }

    /// The streams that the caller may use.
    fn list(self) -> Result<Admitted> {
        let may_use = |spec: &PipelineSpec| match door(spec) {
            None => false,
            Some(None) => true,
            Some(Some(token)) => self
                .signed
                .as_ref()
                .is_some_and(|signed| signed.is_by(token)),
        };
        let specs = specs(self.state).take(TOKENS_TRIED_MAX);
        let streams = specs
            .filter(|spec| may_use(spec))
            .map(|spec| spec.name.to_string());
        let streams: Vec<String> = streams.collect();
        match (&self.signed, streams.is_empty()) {
            (None, true) => Err(sigv4::missing()),
            (Some(_), true) => Err(sigv4::wrong("the signature does not match")),
            _ => Ok(Admitted {
                streams,
                ..Admitted::default()
            }),
        }
    }
}
