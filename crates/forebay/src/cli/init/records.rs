//! Where the records of a JSON document are, by its beginning: the path of its list of objects.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Keys on the way to a list.
const DEPTH_MAX: usize = 3;

/// Names under which APIs and exports put the list of records.
const LIST_NAMES: [&str; 12] = [
    "data", "items", "results", "records", "rows", "features", "value", "values", "entries",
    "objects", "content", "list",
];

/// Names of keys that a record has, and a document around a list of records does not.
const RECORD_KEYS: [&str; 3] = ["id", "_id", "uuid"];

/// The path of the records, with dots; `None` where the document is the list, or a record itself.
pub(super) fn path(sample: &[u8]) -> Option<String> {
    let lists = RefCell::new(Vec::new());
    let probe = Probe {
        path: Vec::new(),
        is_element: false,
        lists: &lists,
    };
    let mut reader = serde_json::Deserializer::from_slice(sample);
    // The sample may end in the middle: what was found before is enough.
    let _ = probe.deserialize(&mut reader);
    choose(lists.into_inner())
}

/// A list of objects, or a key of a record.
type Keys = Vec<String>;

fn choose(lists: Vec<Keys>) -> Option<String> {
    let is_record_key = |keys: &Keys| keys.len() == 1 && RECORD_KEYS.contains(&keys[0].as_str());
    if lists.iter().any(is_record_key) {
        return None;
    }
    let is_named = |keys: &&Keys| {
        let last = keys.last().map(String::as_str);
        last.is_some_and(|name| LIST_NAMES.contains(&name))
    };
    let depth = lists.iter().map(Vec::len).min()?;
    let shallow = || lists.iter().filter(|keys| keys.len() == depth);
    let chosen = shallow().find(is_named).or_else(|| shallow().next())?;
    let is_plain = |key: &String| !key.is_empty() && !key.contains('.');
    chosen.iter().all(is_plain).then(|| chosen.join("."))
}

/// Reads a value and notes the lists of objects in it.
struct Probe<'a> {
    path: Keys,
    /// Whether it reads the first element of the list at `path`: the list is noted when that is an object.
    is_element: bool,
    lists: &'a RefCell<Vec<Keys>>,
}

impl<'de> DeserializeSeed<'de> for Probe<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Probe<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if self.is_element {
            self.lists.borrow_mut().push(self.path);
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        while let Some(key) = map.next_key::<String>()? {
            let mut path = self.path.clone();
            path.push(key);
            if path.len() == 1 && RECORD_KEYS.contains(&path[0].as_str()) {
                self.lists.borrow_mut().push(path.clone());
            }
            if path.len() > DEPTH_MAX {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let lists = self.lists;
            map.next_value_seed(Probe {
                path,
                is_element: false,
                lists,
            })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if !self.is_element && !self.path.is_empty() {
            list.next_element_seed(Probe {
                is_element: true,
                ..self
            })?;
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_records_is_found_by_the_beginning() {
        for (sample, expected) in [
            (r#"[{"a": 1}]"#, None),
            (r#"{"results": [{"a": 1}]}"#, Some("results")),
            (
                r#"{"data": {"items": [{"a": [{"b": 1}]}]}}"#,
                Some("data.items"),
            ),
            (
                r#"{"warnings": [{"x": 1}], "data": [{"a": 1}]}"#,
                Some("data"),
            ),
            (
                r#"{"type": "FeatureCollection", "features": [{"a": {"#,
                Some("features"),
            ),
            (r#"{"count": 2, "quakes": [{"a": "cut of"#, Some("quakes")),
            (r#"{"id": 7, "lines": [{"a": 1}]}"#, None),
            (r#"{"a": 1, "tags": ["x"]}"#, None),
            (r#"{"data": []}"#, None),
            (r#"{"a.b": [{"c": 1}]}"#, None),
            ("{\"a\"", None),
        ] {
            assert_eq!(path(sample.as_bytes()).as_deref(), expected, "{sample}");
        }
    }
}
