//! What the worker says to the server: one method a route, and what an answer means for whoever holds a job.

use std::time::Duration;

use serde_json::{Value, json};
use ureq::http::Method;

use crate::client::{Call, Client, ClientError, escape, is_passing};
use crate::failure::Failure;
use crate::output;

use super::job::Job;

/// Why something was not taken.
#[derive(Debug)]
pub enum Unsaid {
    /// It may well be a moment later.
    Passing(ClientError),
    /// The job is somebody else's, or nobody's.
    Stale,
    Refused(ClientError),
}

/// One that is asked again and again waits longer each time.
#[derive(Clone, Copy, Debug)]
pub struct BackOff(Duration);

/// A worker that is stale loses its jobs after 90 s: there are several attempts in that time.
const PAUSE_MAX: Duration = Duration::from_secs(15);

impl BackOff {
    pub fn new() -> Self {
        Self(Duration::from_millis(500))
    }

    pub fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(PAUSE_MAX);
        pause
    }
}

pub struct Office<'a> {
    client: &'a Client,
    factory_id: String,
}

impl<'a> Office<'a> {
    /// Registers the factory, or says anew what the one of this name can.
    pub fn register(
        client: &'a Client,
        name: &str,
        capabilities: &[String],
        seats: usize,
    ) -> Result<Self, Failure> {
        let body = json!({ "name": name, "capabilities": capabilities, "seat_limit": seats });
        let registered = client.create("/fleet/factories", &body)?;
        let factory_id = output::field(&registered, "id");
        if factory_id.is_empty() {
            return Err(Failure::Answer("a factory without an id".to_owned()));
        }
        Ok(Self { client, factory_id })
    }

    pub fn factory_id(&self) -> &str {
        &self.factory_id
    }

    /// The jobs it holds from an earlier life, each with its epoch.
    pub fn left_over(&self) -> Result<Vec<(String, i64)>, Failure> {
        let path = format!("/fleet/factories/{}", escape(&self.factory_id));
        let shown = self.client.get(&path)?;
        let jobs = shown.get("jobs").and_then(Value::as_array);
        let held = jobs.into_iter().flatten().filter_map(|job| {
            let epoch = job.get("lease_epoch")?.as_i64()?;
            Some((job.get("job_id")?.as_str()?.to_owned(), epoch))
        });
        Ok(held.collect())
    }

    /// `None`: there is nothing for it. With the same `claim_id` it is the same claim, so that no job is lost with an answer.
    pub fn claim(
        &self,
        claim_id: &str,
        product: Option<&str>,
        wait_seconds: u64,
    ) -> Result<Option<Job>, Unsaid> {
        let mut body = json!({
            "factory_id": self.factory_id,
            "claim_id": claim_id,
            "wait_seconds": wait_seconds,
        });
        if let (Some(product), Value::Object(members)) = (product, &mut body) {
            members.insert("product_id".to_owned(), json!(product));
        }
        let claimed = self.send(Method::POST, "/fleet/jobs/claim", &body, None)?;
        Ok(Job::of(claimed))
    }

    /// It lives, and holds these jobs; those it holds no more.
    pub fn beat(&self, held: &[(String, i64)]) -> Result<Vec<(String, i64)>, Unsaid> {
        let jobs: Vec<Value> = held
            .iter()
            .map(|(id, epoch)| json!({ "job_id": id, "lease_epoch": epoch }))
            .collect();
        let path = format!("/fleet/factories/{}/heartbeat", escape(&self.factory_id));
        let answer = self.send(Method::POST, &path, &json!({ "jobs": jobs }), None)?;
        let answers = answer.get("jobs").and_then(Value::as_array);
        let lost = answers.into_iter().flatten().filter_map(|job| {
            let is_lost = job.get("held").and_then(Value::as_bool) == Some(false);
            let epoch = job.get("lease_epoch")?.as_i64()?;
            is_lost.then_some((job.get("job_id")?.as_str()?.to_owned(), epoch))
        });
        Ok(lost.collect())
    }

    /// A stage, a checkpoint. `key`: the same for each attempt of saying it.
    pub fn report(&self, job: (&str, i64), said: &Value, key: &str) -> Result<(), Unsaid> {
        self.of_job(Method::PATCH, job, "", said, key)
    }

    pub fn artifact(&self, job: (&str, i64), artifact: &Value, key: &str) -> Result<(), Unsaid> {
        self.of_job(Method::POST, job, "/artifacts", artifact, key)
    }

    pub fn run(&self, job: (&str, i64), run: &Value, key: &str) -> Result<(), Unsaid> {
        self.of_job(Method::POST, job, "/runs", run, key)
    }

    /// A product without a budget may spend what it likes.
    pub fn spend(&self, product: &str, spending: &Value) -> Result<(), Unsaid> {
        let path = format!("/fleet/budgets/{}/spend", escape(product));
        match self.send(Method::POST, &path, spending, None) {
            Err(Unsaid::Refused(ClientError::Problem(problem))) if problem.status == 404 => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Fenced by who holds it, and since when.
    fn of_job(
        &self,
        method: Method,
        (id, epoch): (&str, i64),
        route: &str,
        said: &Value,
        key: &str,
    ) -> Result<(), Unsaid> {
        let mut body = said.clone();
        if let Value::Object(members) = &mut body {
            members.insert("lease_epoch".to_owned(), json!(epoch));
            members.insert("factory_id".to_owned(), json!(self.factory_id));
        }
        let path = format!("/fleet/jobs/{}{route}", escape(id));
        match self.send(method, &path, &body, Some(key)) {
            Ok(_) => Ok(()),
            Err(Unsaid::Refused(ClientError::Problem(problem))) if problem.status == 404 => {
                Err(Unsaid::Stale)
            }
            Err(unsaid) => Err(unsaid),
        }
    }

    fn send(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        key: Option<&str>,
    ) -> Result<Value, Unsaid> {
        let call = Call {
            method,
            path,
            body: Some(body),
            idempotency_key: key,
            if_match: None,
        };
        self.client.call(&call).map_err(judged)
    }
}

fn judged(error: ClientError) -> Unsaid {
    match &error {
        ClientError::Problem(problem) if problem.code == "stale-lease" => Unsaid::Stale,
        ClientError::Problem(problem) if problem.status >= 500 || problem.status == 429 => {
            Unsaid::Passing(error)
        }
        _ if is_passing(&error) => Unsaid::Passing(error),
        ClientError::Problem(_)
        | ClientError::Unreachable { .. }
        | ClientError::NotJson(_)
        | ClientError::Broken { .. }
        | ClientError::BadAddress(_) => Unsaid::Refused(error),
    }
}

#[cfg(test)]
mod tests {
    use crate::problem::Problem;

    use super::*;

    fn problem(status: u16, code: &str) -> ClientError {
        ClientError::Problem(Box::new(Problem {
            status,
            code: code.to_owned(),
            ..Problem::default()
        }))
    }

    #[test]
    fn what_may_pass_is_said_again_and_what_is_stale_is_nobodys() {
        let unreachable = ClientError::Unreachable {
            server: String::new(),
            reason: String::new(),
        };
        for (error, expected) in [
            (unreachable, "passing"),
            (problem(500, "internal"), "passing"),
            (problem(503, "unavailable"), "passing"),
            (problem(429, "rate-limited"), "passing"),
            (problem(409, "in-progress"), "passing"),
            (problem(409, "stale-lease"), "stale"),
            (problem(409, "invalid-transition"), "refused"),
            (problem(401, "unauthenticated"), "refused"),
            (problem(422, "validation"), "refused"),
        ] {
            let told = format!("{error}");
            let word = match judged(error) {
                Unsaid::Passing(_) => "passing",
                Unsaid::Stale => "stale",
                Unsaid::Refused(_) => "refused",
            };
            assert_eq!(word, expected, "{told}");
        }
    }

    #[test]
    fn pauses_grow_to_an_end() {
        let mut pauses = BackOff::new();
        let taken: Vec<Duration> = (0..8).map(|_| pauses.next()).collect();
        assert!(taken.windows(2).all(|two| two[0] <= two[1]));
        assert_eq!(
            (taken[0], taken[7]),
            (Duration::from_millis(500), PAUSE_MAX)
        );
    }
}
