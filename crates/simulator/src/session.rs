//! Sessions: who is logged in, known by a cookie or, over VI JSON, by a token.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::clock;
use crate::fault::Fault;

/// One login.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// `UserSession.key`; it stands in the ids of leases and collectors.
    pub(crate) key: String,
    /// Name of the user.
    pub(crate) user: String,
    login_time: String,
    last_active_time: String,
    last_active: Instant,
    client: Client,
    calls: i32,
}

/// What is known of the other end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client {
    /// Its IP address.
    pub(crate) address: String,
    /// Its header `User-Agent`.
    pub(crate) agent: String,
}

/// How a client speaks.  A session of one wire is not known on the other.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Wire {
    /// VI JSON: the session's secret is a token in a header of its own.
    Json,
    /// SOAP: the session's secret is a cookie.
    #[default]
    Soap,
}

/// All sessions, by wire and cookie or token.
#[derive(Debug)]
pub(crate) struct Sessions {
    by_cookie: BTreeMap<(Wire, String), Session>,
    idle_max: Duration,
    /// Keys, cookies and tokens that were given out, for `Simulator::secrets`.
    given_out: Vec<String>,
}

impl Sessions {
    /// No sessions; those to come end when they are idle for longer than `idle_max`.
    pub(crate) fn new(idle_max: Duration) -> Self {
        Self { by_cookie: BTreeMap::new(), idle_max, given_out: Vec::new() }
    }

    /// Opens a session.  Returns its cookie or token, which is another secret than the key.
    pub(crate) fn open(&mut self, wire: Wire, user: &str, client: Client) -> (String, Session) {
        let now = clock::now();
        let session = Session {
            key: format!("52{}", clock::uuid().get(2..).unwrap_or_default()),
            user: user.to_owned(),
            login_time: now.clone(),
            last_active_time: now,
            last_active: Instant::now(),
            client,
            calls: 0,
        };
        let mut cookie = clock::uuid().replace('-', "");
        if wire == Wire::Json {
            // Tokens look like 40 hex digits.
            cookie.push_str(clock::uuid().get(..8).unwrap_or_default());
        }
        self.given_out.extend([session.key.clone(), cookie.clone()]);
        self.by_cookie.insert((wire, cookie.clone()), session.clone());
        (cookie, session)
    }

    /// The session of `cookie`, or of the token; this counts as activity.
    pub(crate) fn find(&mut self, wire: Wire, cookie: &str) -> Option<&Session> {
        let session = self.by_cookie.get_mut(&(wire, cookie.to_owned()))?;
        if session.last_active.elapsed() > self.idle_max {
            return None;
        }
        session.last_active = Instant::now();
        session.last_active_time = clock::now();
        session.calls = session.calls.saturating_add(1);
        Some(session)
    }

    /// Whether a session with this key is open.
    pub(crate) fn is_open(&self, key: &str) -> bool {
        self.by_cookie.values().any(|session| session.key == key)
    }

    /// Closes the session with this key.
    pub(crate) fn close(&mut self, key: &str) {
        self.by_cookie.retain(|_, session| session.key != key);
    }

    /// Closes all sessions and returns their keys.
    pub(crate) fn close_all(&mut self) -> Vec<String> {
        std::mem::take(&mut self.by_cookie).into_values().map(|session| session.key).collect()
    }

    /// Every key, cookie and token that was given out, of sessions that have ended too.
    pub(crate) fn secrets(&self) -> &[String] {
        &self.given_out
    }

    /// Keys and users of the open sessions.
    pub(crate) fn list(&self) -> Vec<&Session> {
        self.by_cookie.values().collect()
    }
}

impl Session {
    /// Calls since the login, this one included.
    pub(crate) fn calls(&self) -> u32 {
        u32::try_from(self.calls).unwrap_or(u32::MAX)
    }

    /// As `UserSession`.
    pub(crate) fn value(&self) -> Value {
        json!({
            "_typeName": "UserSession",
            "key": self.key,
            "userName": self.user,
            "fullName": self.user,
            "loginTime": self.login_time,
            "lastActiveTime": self.last_active_time,
            "locale": "en",
            "messageLocale": "en",
            "extensionSession": false,
            "ipAddress": self.client.address,
            "userAgent": self.client.agent,
            "callCount": self.calls,
        })
    }
}

/// The fault for calls without a session.
pub(crate) fn not_authenticated(object: &Value) -> Fault {
    Fault::new("NotAuthenticated", "The session is not authenticated.")
        .with("object", object.clone())
        .with("privilegeId", "System.View")
}

/// The fault for a wrong name or password.
pub(crate) fn invalid_login() -> Fault {
    Fault::new("InvalidLogin", "Cannot complete login due to an incorrect user name or password.")
}

/// The value of the session cookie in a header `Cookie`, with or without quotes.
pub(crate) fn cookie(header: &str) -> Option<&str> {
    header.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then(|| value.trim_matches('"'))
    })
}

/// The header `Set-Cookie` for `cookie`; real servers quote the value.
pub(crate) fn set_cookie(cookie: &str, is_quoted: bool) -> String {
    let quote = if is_quoted { "\"" } else { "" };
    format!("{COOKIE}={quote}{cookie}{quote}; Path=/; HttpOnly; Secure; ")
}

const COOKIE: &str = "vmware_soap_session";

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_by_idling() {
        const IDLE_MAX: Duration = Duration::from_secs(30 * 60);
        let mut sessions = Sessions::new(IDLE_MAX);
        let (cookie, session) = sessions.open(Wire::Soap, "a", Client::default());
        assert_ne!(cookie, session.key);
        tokio::time::advance(IDLE_MAX - Duration::from_secs(1)).await;
        assert!(sessions.find(Wire::Soap, &cookie).is_some());
        assert!(sessions.find(Wire::Json, &cookie).is_none());
        tokio::time::advance(IDLE_MAX + Duration::from_secs(1)).await;
        assert!(sessions.find(Wire::Soap, &cookie).is_none());
    }

    #[test]
    fn cookies_are_read_with_and_without_quotes() {
        assert_eq!(cookie("a=b; vmware_soap_session=\"x\""), Some("x"));
        assert_eq!(cookie("vmware_soap_session=x"), Some("x"));
        assert_eq!(cookie("vmware_soap_sessions=x"), None);
        assert_eq!(cookie("nonsense"), None);
    }
}
