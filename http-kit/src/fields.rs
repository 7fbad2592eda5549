//! Objects of known fields: each is taken once by its name, and what nobody took is unknown.

use serde_json::{Map, Value};

use crate::input::{At, FromInput};

/// The fields of an object that is being read.
pub struct Fields<'a, 'b> {
    members: Map<String, Value>,
    at: &'a mut At<'b>,
}

impl<'a, 'b> Fields<'a, 'b> {
    /// `None`, and a fault, if it is no object.
    pub fn of(value: Value, at: &'a mut At<'b>) -> Option<Self> {
        let members = Map::from_input(value, at)?;
        Some(Self { members, at })
    }

    /// One field. Null is as good as left out.
    pub fn take<T: FromInput>(&mut self, name: &'static str) -> Option<T> {
        match self.given(name) {
            Some(value) => T::from_input(value, &mut self.at.field(name)),
            None => {
                let default = T::left_out();
                if default.is_none() {
                    self.at.missing(name);
                }
                default
            }
        }
    }

    /// One field that may be left out. A wrong one is told, and as good as left out, so that the others can still be held
    /// against each other: what was read of an object with a fault in it comes to nothing anyway.
    pub fn optional<T: FromInput>(&mut self, name: &'static str) -> Option<T> {
        self.optional_by(name, T::from_input)
    }

    /// The same for a value with a reader of its own, such as [`whole`](crate::bounds::whole).
    pub fn optional_by<T>(
        &mut self,
        name: &'static str,
        reader: impl FnOnce(Value, &mut At<'_>) -> Option<T>,
    ) -> Option<T> {
        let given = self.given(name)?;
        reader(given, &mut self.at.field(name))
    }

    /// Whether a field that was not taken yet is there. Null is as good as left out.
    pub fn has(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(|value| !value.is_null())
    }

    /// The place of the object, for what is wrong with fields together.
    pub fn at(&mut self) -> &mut At<'b> {
        self.at
    }

    fn given(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name).filter(|value| !value.is_null())
    }

    /// The fields that were not taken, for somebody else to read from the same object.
    pub(crate) fn into_rest(self) -> (Value, &'a mut At<'b>) {
        (Value::Object(self.members), self.at)
    }

    /// A fault for each field that was not taken.
    pub fn finish(self) -> &'a mut At<'b> {
        for name in self.members.keys() {
            self.at.unknown(name);
        }
        self.at
    }
}

/// What is read of some fields of an object, and leaves the others to somebody else.
pub trait FromFields: Sized {
    fn from_fields(fields: &mut Fields<'_, '_>) -> Option<Self>;
}

/// Two that share an object: the filters of one list, and those of every list of its kind.
impl<A: FromFields, B: FromFields> FromInput for (A, B) {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        let mut fields = Fields::of(value, at)?;
        let (first, second) = (A::from_fields(&mut fields), B::from_fields(&mut fields));
        fields.finish();
        Some((first?, second?))
    }
}

/// No field at all.
impl FromFields for () {
    fn from_fields(_fields: &mut Fields<'_, '_>) -> Option<Self> {
        Some(())
    }
}

/// No field at all: the query of a route without parameters.
impl FromInput for () {
    fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
        Fields::of(value, at)?.finish();
        Some(())
    }
}

/// Reads a struct whose fields have the names they have in the document:
/// `from_input!(CreateUser { name, password, role });`. An `Option` may be left out.
#[macro_export]
macro_rules! from_input {
    ($type:ident { $($field:ident),* $(,)? }) => {
        impl $crate::FromFields for $type {
            fn from_fields(fields: &mut $crate::Fields<'_, '_>) -> Option<Self> {
                // Every field is read before the first that is missing ends it.
                $(let $field = fields.take(stringify!($field));)*
                Some(Self { $($field: $field?),* })
            }
        }

        impl $crate::FromInput for $type {
            fn from_input(value: $crate::Value, at: &mut $crate::At<'_>) -> Option<Self> {
                let mut fields = $crate::Fields::of(value, at)?;
                let read = <Self as $crate::FromFields>::from_fields(&mut fields);
                fields.finish();
                read
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fleetwright_protocol::HostId;
    use serde_json::json;
    use uuid::Uuid;

    use crate::bounds::one_of;
    use crate::input::read;
    use crate::problem::ERRORS_MAX;
    use crate::{At, FromInput, Problem, Value};

    #[derive(Debug, PartialEq)]
    struct Body {
        name: String,
        size: u64,
        mode: Mode,
        flag: Option<bool>,
        inner: Option<Vec<Inner>>,
        hosts: Option<Vec<HostId>>,
        labels: Option<BTreeMap<String, String>>,
    }

    #[derive(Debug, PartialEq)]
    struct Inner {
        size: i64,
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Mode {
        Up,
        Down,
    }

    from_input!(Body {
        name,
        size,
        mode,
        flag,
        inner,
        hosts,
        labels
    });
    from_input!(Inner { size });

    impl FromInput for Mode {
        fn from_input(value: Value, at: &mut At<'_>) -> Option<Self> {
            one_of(&value, at, &[("up", Self::Up), ("down", Self::Down)])
        }
    }

    fn refused(body: Value) -> Problem {
        read::<Body>(body).expect_err("refused")
    }

    fn places(problem: &Problem) -> Vec<(&str, &str)> {
        let errors = problem.errors().iter();
        errors
            .map(|error| (error.pointer.as_str(), error.code.as_str()))
            .collect()
    }

    #[test]
    fn a_good_body_is_read_and_null_is_as_good_as_left_out() {
        let id = Uuid::from_u128(7);
        let body = json!({"name": "n", "size": 3, "mode": "up", "flag": null,
            "inner": [{"size": -1}], "hosts": [id], "labels": {"a": "b"}});
        let read: Body = read(body).expect("good");
        let expected = Body {
            name: "n".to_owned(),
            size: 3,
            mode: Mode::Up,
            flag: None,
            inner: Some(vec![Inner { size: -1 }]),
            hosts: Some(vec![HostId(id)]),
            labels: Some(BTreeMap::from([("a".to_owned(), "b".to_owned())])),
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_its_place() {
        let problem = refused(json!({
            "nmae": "n", "size": -1, "mode": "sideways", "flag": "true",
            "inner": [{"size": 1}, {"size": 1.5, "a/b~": 2}, 7, {}],
            "hosts": ["x", Uuid::nil().simple().to_string()],
            "labels": {"ok": "x", "bad": 1},
        }));
        let expected = [
            ("/inner/1/a~1b~0", "unknown-field"),
            ("/nmae", "unknown-field"),
            ("/name", "missing-field"),
            ("/size", "invalid-field"),
            ("/mode", "invalid-field"),
            ("/flag", "invalid-field"),
            ("/inner/1/size", "invalid-field"),
            ("/inner/2", "invalid-field"),
            ("/inner/3/size", "missing-field"),
            ("/hosts/0", "invalid-field"),
            ("/hosts/1", "invalid-field"),
            ("/labels/bad", "invalid-field"),
        ];
        assert_eq!(places(&problem), expected);
        assert_eq!(
            (problem.status().as_u16(), problem.code()),
            (422, "unknown-field")
        );
        assert_eq!(places(&refused(json!([]))), [("", "invalid-field")]);
        let nulls = refused(json!({"name": null, "size": 1, "mode": "up"}));
        assert_eq!(places(&nulls), [("/name", "missing-field")]);
    }

    #[test]
    fn of_very_many_faults_a_hundred_are_told_and_all_are_counted() {
        let mut body = json!({"name": "n", "size": 1, "mode": "up", "hosts": vec![1; 30_000]});
        for index in 0..60 {
            body[format!("x{index}")] = json!(1);
        }
        let problem = refused(body);
        assert_eq!(problem.errors().len(), ERRORS_MAX);
        assert_eq!(problem.errors_omitted(), 30_060 - ERRORS_MAX);
        assert!(
            problem.detail().ends_with("(and 30059 more)"),
            "{}",
            problem.detail()
        );
    }

    #[test]
    fn what_is_repeated_of_a_body_is_short() {
        let key = "k".repeat(1_000_000);
        let body =
            json!({"name": "n", "size": 1, "mode": "up", "labels": {key.clone(): 1}, key: 1});
        let answer = refused(body).body().to_string();
        assert!(answer.len() < 2_000, "{} bytes", answer.len());
    }
}
