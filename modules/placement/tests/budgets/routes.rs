//! Budgets through their routes, on both databases.

use fleetwright_module_placement::budgets::controller::roll_over_lapsed;
use fleetwright_tests::on_each_database;
use serde_json::{Value, json};

use crate::support::{BUDGETS, Bench, sums};

fn monthly(ceiling: Value) -> Value {
    json!({"ceiling_usd": ceiling, "window": "monthly"})
}

on_each_database! {
    async fn a_budget_is_shown_as_it_was_set_with_its_window_and_where_spending_leads(database: TestDatabase) {
        let bench = Bench::start(&database, true).await;
        let missing = bench.send("GET", "/p", Value::Null).await;
        assert_eq!(missing.status, 404);
        let answer = bench.raw("PUT", "/p", r#"{"ceilingUsd": 100.50, "window": "monthly"}"#).await;
        assert_eq!((answer.status, &answer.headers["etag"]), (201, &"\"1\"".parse().unwrap()));
        let shown = bench.get("/p").await;
        assert_eq!(answer.json(), shown);
        assert_eq!((&shown["ceiling_usd"], &shown["window"]), (&json!("100.5"), &json!("monthly")));
        assert_eq!((&shown["window_start"], &shown["window_end"]), (&json!("2026-01-01T00:00:00.000Z"), &json!("2026-02-01T00:00:00.000Z")));
        assert_eq!(sums(&shown), ("0", "0", "100.5", "-"));
        bench.at("2026-01-16T12:00:00Z");
        let spent = bench.spend("p", json!({"amount_usd": 10, "key": "a"})).await;
        assert_eq!(sums(&spent["budget"]), ("10", "0", "90.5", "-"));
        assert_eq!((&spent["budget"]["projected_usd"], &spent["accrued"]), (&json!("20"), &json!(true)));
        let actions: Vec<String> = bench.server.state().audits.iter().map(|audit| audit.action.clone()).collect();
        assert_eq!(actions, ["budget.set", "budget.spend"]);
        assert_eq!(bench.server.state().responses.first().unwrap().body.as_bytes(), &answer.body[..]);
        let total = bench.set("t", json!({"ceiling_usd": "1", "window": "total"})).await;
        assert_eq!((&total["window_end"], &total["projected_usd"]), (&Value::Null, &Value::Null));
    }

    async fn what_is_no_amount_no_window_and_no_key_is_told_at_its_field(database: TestDatabase) {
        let bench = Bench::start(&database, true).await;
        for ceiling in ["-1", "0.0000001", "9223372036854.775808", "\"NaN\"", "\"1e3\"", "true", "[1]", "{}", "1e99", "0.10000000000000000001"] {
            let body = format!("{{\"ceiling_usd\": {ceiling}, \"window\": \"daily\"}}");
            let answer = bench.raw("PUT", "/p", &body).await;
            assert_eq!(Bench::code(&answer), (422, "money-invalid".to_owned()), "{ceiling}");
            assert_eq!(answer.json()["errors"][0]["pointer"], "/ceiling_usd");
        }
        let answer = bench.send("PUT", "/p", json!({"ceiling_usd": "x", "window": "yearly", "owner": 1})).await;
        let errors = answer.json()["errors"].clone();
        let codes: Vec<&str> = errors.as_array().unwrap().iter().map(|error| error["code"].as_str().unwrap()).collect();
        assert_eq!(codes, ["unknown-field", "money-invalid", "budget-window-invalid"]);
        let answer = bench.send("PUT", "/p", json!({"ceiling_usd": 1})).await;
        assert_eq!(Bench::code(&answer), (422, "missing-field".to_owned()));
        for path in ["/%00", "/a%0Ab", "/%FF"] {
            assert_eq!(bench.send("PUT", path, monthly(json!(1))).await.status, 400, "{path}");
        }
        assert_eq!(bench.raw("PUT", "/p", "{").await.status, 400);
        assert!(bench.server.state().audits.is_empty());
        let largest = bench.raw("PUT", "/p", r#"{"ceiling_usd": 9223372036854.775807, "window": "total"}"#).await;
        assert_eq!((largest.status, &largest.json()["ceiling_usd"]), (201, &json!("9223372036854.775807")));
        bench.spend("p", json!({"amount_usd": "9223372036854.775806", "key": "1"})).await;
        let beyond = bench.send("POST", "/p/spend", json!({"amount_usd": "0.000002", "key": "2"})).await;
        assert_eq!(Bench::code(&beyond), (422, "money-invalid".to_owned()));
        bench.spend("p", json!({"amount_usd": "0.000001", "key": "2"})).await;
        assert_eq!(sums(&bench.get("/p").await), ("9223372036854.775807", "0", "0", "ceiling"));
    }

    async fn a_key_is_counted_once_and_means_one_thing(database: TestDatabase) {
        let bench = Bench::start(&database, true).await;
        assert_eq!(bench.send("POST", "/p/spend", json!({"amount_usd": 1, "key": "k"})).await.status, 404);
        bench.set("p", monthly(json!(100))).await;
        bench.set("q", monthly(json!(100))).await;
        bench.spend("p", json!({"amount_usd": "1.5", "key": "k"})).await;
        let again = bench.spend("p", json!({"amount_usd": 1.50, "key": "k"})).await;
        assert_eq!((&again["accrued"], &again["budget"]["spent_usd"]), (&json!(false), &json!("1.5")));
        let other = bench.send("POST", "/p/spend", json!({"amount_usd": 2, "key": "k"})).await;
        assert_eq!(Bench::code(&other), (422, "idempotency-mismatch".to_owned()));
        // Keys are a product's own.
        bench.spend("q", json!({"amount_usd": 2, "key": "k"})).await;
        assert_eq!(bench.get("/p").await["spent_usd"], "1.5");
        assert_eq!(bench.get("/q").await["spent_usd"], "2");
    }

    async fn the_ceiling_pauses_and_a_higher_one_or_a_new_window_resumes(database: TestDatabase) {
        let bench = Bench::start(&database, true).await;
        bench.set("p", json!({"ceiling_usd": 10, "window": "daily"})).await;
        let spent = bench.spend("p", json!({"amount_usd": 12, "key": "1"})).await;
        assert_eq!(sums(&spent["budget"]), ("12", "0", "0", "ceiling"));
        assert_eq!(Bench::code(&bench.post("/p/resume").await), (409, "budget-exhausted".to_owned()));
        let raised = bench.set("p", json!({"ceiling_usd": 13, "window": "daily"})).await;
        assert_eq!(sums(&raised), ("12", "0", "1", "-"));
        assert_eq!(raised, bench.get("/p").await);
        let lowered = bench.set("p", json!({"ceiling_usd": 12, "window": "daily"})).await;
        assert_eq!(sums(&lowered), ("12", "0", "0", "ceiling"));
        assert_eq!(lowered, bench.get("/p").await);
        bench.at("2026-01-31T00:00:00Z");
        let next = bench.get("/p").await;
        assert_eq!((sums(&next), &next["window_start"]), (("0", "0", "12", "-"), &json!("2026-01-31T00:00:00.000Z")));
        // A person's pause outlives windows and ceilings.
        let paused = bench.post("/p/pause").await.json();
        assert_eq!((&paused["paused_by"], &paused["paused_by_name"]), (&json!("manual"), &json!("test")));
        assert_eq!(bench.post("/p/pause").await.status, 200);
        bench.spend("p", json!({"amount_usd": 20, "key": "2"})).await;
        bench.set("p", json!({"ceiling_usd": 1000, "window": "daily"})).await;
        bench.at("2026-02-05T00:00:00Z");
        assert_eq!(sums(&bench.get("/p").await), ("0", "0", "1000", "manual"));
        assert_eq!(bench.post("/p/resume").await.json()["paused"], false);
        assert_eq!(bench.post("/p/resume").await.status, 200);
    }

    async fn where_nothing_is_enforced_spending_is_recorded_and_nothing_pauses_by_itself(database: TestDatabase) {
        let bench = Bench::start(&database, false).await;
        bench.set("p", monthly(json!(10))).await;
        let spent = bench.spend("p", json!({"amount_usd": 12, "key": "1"})).await;
        assert_eq!(sums(&spent["budget"]), ("12", "0", "0", "-"));
        assert_eq!(bench.get("/p").await["enforced"], false);
        assert_eq!(sums(&bench.set("p", monthly(json!(5))).await), ("12", "0", "0", "-"));
        // Once it is switched on, the next that is said about it pauses it.
        let enforced = Bench::beside(&bench.server, true);
        let spent = enforced.spend("p", json!({"amount_usd": 0, "key": "2"})).await;
        assert_eq!(spent["budget"]["paused_by"], "ceiling");
        assert_eq!(bench.post("/p/resume").await.json()["paused"], false);
    }

    async fn another_window_counts_what_was_spent_in_it_already(database: TestDatabase) {
        let bench = Bench::start(&database, true).await;
        bench.at("2026-01-12T08:00:00Z");
        bench.set("p", json!({"ceiling_usd": 10, "window": "daily"})).await;
        for (time, amount) in [("2026-01-12T09:00:00Z", 1), ("2026-01-18T23:59:59Z", 2), ("2026-01-19T00:00:00Z", 4)] {
            bench.at(time);
            bench.spend("p", json!({"amount_usd": amount, "key": time})).await;
        }
        assert_eq!(bench.get("/p").await["spent_usd"], "4");
        for (window, spent) in [("monthly", "7"), ("weekly", "4"), ("total", "7"), ("daily", "4")] {
            let changed = bench.set("p", json!({"ceiling_usd": 5, "window": window})).await;
            assert_eq!((&changed["spent_usd"], &changed["paused"]), (&json!(spent), &json!(spent == "7")), "{window}");
            assert_eq!(changed, bench.get("/p").await);
        }
        let history = bench.get("/p/history").await;
        let days = [("2026-01-19", "4"), ("2026-01-18", "2"), ("2026-01-12", "1")];
        assert_eq!(history["items"], json!(days.map(|(day, spent)| json!({"day": day, "spent_usd": spent}))));
        let first = bench.get("/p/history?limit=2").await;
        let cursor = first["next_cursor"].as_str().unwrap();
        let rest = bench.get(&format!("/p/history?limit=2&cursor={cursor}")).await;
        assert_eq!((&rest["items"][0]["day"], &rest["next_cursor"]), (&json!("2026-01-12"), &Value::Null));
        assert_eq!(bench.send("GET", "/q/history", Value::Null).await.status, 404);
    }

    async fn a_list_shows_budgets_in_their_window_of_now(database: TestDatabase) {
        let bench = Bench::start(&database, true).await;
        for (product, window) in [("b", "daily"), ("a", "monthly"), ("c", "total")] {
            bench.set(product, json!({"ceiling_usd": 1, "window": window})).await;
            bench.spend(product, json!({"amount_usd": 1, "key": "k"})).await;
        }
        let products = |list: &Value| -> Vec<String> {
            let items = list["items"].as_array().unwrap().iter();
            items.map(|item| item["product_id"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(products(&bench.get("?paused=true").await), ["a", "b", "c"]);
        bench.at("2026-01-31T00:00:00Z");
        assert_eq!(products(&bench.get("?paused=true").await), ["a", "c"]);
        assert_eq!(products(&bench.get("?paused=false").await), ["b"]);
        let first = bench.get("?limit=2").await;
        assert_eq!(products(&first), ["a", "b"]);
        let cursor = first["next_cursor"].as_str().unwrap();
        assert_eq!(products(&bench.get(&format!("?limit=2&cursor={cursor}")).await), ["c"]);
        assert_eq!(bench.send("GET", "?paused=yes", Value::Null).await.status, 422);
        // The loop does it for those nobody looks at, and knows when it is next needed.
        bench.at("2026-02-01T00:00:00Z");
        let end_us = roll_over_lapsed(&bench.handle, true).await.unwrap().unwrap();
        assert_eq!(end_us, "2026-02-02T00:00:00Z".parse::<jiff::Timestamp>().unwrap().as_microsecond());
        let resumed = bench.server.state().audits.iter().filter(|audit| audit.action == "budget.resume").count();
        assert_eq!(resumed, 2);
    }

    async fn a_change_of_what_was_not_seen_is_refused(database: TestDatabase) {
        let bench = Bench::start(&database, true).await;
        let put = |tag: &'static str| {
            let request = ::http::Request::builder()
                .method("PUT")
                .uri(format!("{BUDGETS}/p"))
                .header("content-type", "application/json")
                .header("if-match", tag)
                .body(monthly(json!(7)).to_string().into())
                .unwrap();
            bench.client.send(request)
        };
        assert_eq!(put("\"1\"").await.unwrap().status, 412);
        bench.set("p", monthly(json!(1))).await;
        assert_eq!(put("\"1\"").await.unwrap().status, 200);
        assert_eq!(put("\"1\"").await.unwrap().status, 412);
    }

    async fn the_example_of_the_document_happens_as_it_says(database: TestDatabase) {
        let bench = Bench::start(&database, true).await;
        bench.at("2026-01-16T12:00:00Z");
        let document = include_str!("../../../../docs/budgets.md");
        let (_, example) = document.split_once("## An example").unwrap();
        let (example, _) = example.split_once("\n## ").unwrap();
        let blocks: Vec<&str> = example.split("```").skip(1).step_by(2).collect();
        assert_eq!(blocks.len(), 12);
        for pair in blocks.chunks(2) {
            let [asked, told] = pair else { panic!("{pair:?}") };
            let (method, rest) = asked.split_once("-X ").unwrap().1.split_once(' ').unwrap();
            let path = rest.split_once(BUDGETS).unwrap().1.split_once(' ').unwrap().0;
            let body = rest.split_once("-d '").map_or("", |(_, body)| body.split_once('\'').unwrap().0);
            let answer = bench.raw(method, path, body).await.json();
            let told: Value = serde_json::from_str(told.strip_prefix("json").unwrap()).unwrap();
            says(&answer, &told);
        }
    }

    async fn a_monthly_budget_begins_anew_where_the_month_ends(database: TestDatabase) {
        let bench = Bench::start(&database, true).await;
        bench.at("2027-12-31T23:59:59.999Z");
        let set = bench.raw("PUT", "/p", r#"{"ceilingUsd":100,"window":"monthly"}"#).await;
        assert_eq!((set.status, &set.json()["window_end"]), (201, &json!("2028-01-01T00:00:00.000Z")));
        for (now, start, end) in [
            ("2028-01-31T23:59:59.999Z", "2028-01-01", "2028-02-01"),
            ("2028-02-29T23:59:59.999Z", "2028-02-01", "2028-03-01"),
            ("2028-03-01T00:00:00Z", "2028-03-01", "2028-04-01"),
            // Nobody looked at it for years.
            ("2100-02-28T23:59:59.999Z", "2100-02-01", "2100-03-01"),
            ("2100-03-01T00:00:00Z", "2100-03-01", "2100-04-01"),
        ] {
            bench.spend("p", json!({"amount_usd": "100.000001", "key": now})).await;
            bench.at(now);
            let shown = bench.get("/p").await;
            let [start, end] = [start, end].map(|day| json!(format!("{day}T00:00:00.000Z")));
            assert_eq!((sums(&shown), &shown["window_start"], &shown["window_end"]), (("0", "0", "100", "-"), &start, &end));
        }
    }

    async fn sums_that_cannot_be_counted_are_refused_and_change_nothing(database: TestDatabase) {
        let bench = Bench::start(&database, true).await;
        bench.set("p", json!({"ceiling_usd": 1, "window": "daily"})).await;
        bench.spend("p", json!({"amount_usd": "9223372036854.775807", "key": "1"})).await;
        bench.at("2026-01-31T12:00:00Z");
        bench.spend("p", json!({"amount_usd": "0.000001", "key": "2"})).await;
        for window in ["weekly", "monthly", "total"] {
            let answer = bench.send("PUT", "/p", json!({"ceiling_usd": 1, "window": window})).await;
            assert_eq!(Bench::code(&answer), (422, "money-invalid".to_owned()), "{window}");
            assert_eq!(answer.json()["errors"][0]["pointer"], "/window");
        }
        let shown = bench.get("/p").await;
        assert_eq!((sums(&shown), &shown["window"]), (("0.000001", "0", "0.999999", "-"), &json!("daily")));
        // A clock that was set back has the day of yesterday, which is full.
        bench.at("2026-01-30T12:00:00Z");
        let answer = bench.send("POST", "/p/spend", json!({"amount_usd": 1, "key": "3"})).await;
        assert_eq!(answer.status, 409);
        assert_eq!(bench.get("/p").await["spent_usd"], "0.000001");
    }
}

/// Whether an answer has everything that is told of it.
fn says(answer: &Value, told: &Value) {
    for (name, value) in told.as_object().unwrap() {
        match value {
            Value::Object(_) => says(&answer[name], value),
            _ => assert_eq!(&answer[name], value, "{name} of {answer}"),
        }
    }
}
