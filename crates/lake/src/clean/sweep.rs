//! Lists the folders of tables and deletes unreached files.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_core::{Result, Timestamp};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::Error;
use object_store::path::Path;
use uuid::Uuid;

use crate::Lake;
use forebay_objects::from_objects;

use super::reach::Reach;
use super::{CleanRequest, CleanedTable};

/// Objects deleted by one request, where the store can.
pub(super) const DELETED_AT_ONCE: usize = 1_000;

pub(super) async fn sweep(
    lake: &Lake,
    request: &CleanRequest,
    reach: &Reach,
) -> Result<BTreeMap<Uuid, CleanedTable>> {
    let prefix = Path::from("tables");
    let mut found = lake.objects().list(Some(&prefix));
    let failed = |e| from_objects("list the tables' files", &prefix, e);
    let until = before(lake.clock().now(), request.safe_age);
    let mut tables = first_counts(reach);
    let mut unneeded = Vec::new();
    while let Some(object) = found.try_next().await.map_err(failed)? {
        let Some((uuid, part)) = place(&object.location) else {
            continue;
        };
        let known = reach.tables.contains_key(&uuid);
        let table = tables.entry(uuid).or_default();
        table.left_alone = table.problem.is_some() || !(known || request.unknown_tables);
        let old = object.last_modified.timestamp_micros() < until.micros();
        if reach.has(&object.location) {
            table.needed.add(object.size);
        } else if !old {
            table.young.add(object.size);
        } else {
            match part {
                Part::Data => table.data.add(object.size),
                Part::Metadata => table.metadata.add(object.size),
            }
            if !table.left_alone {
                unneeded.push(object.location);
            }
        }
        if unneeded.len() == DELETED_AT_ONCE {
            delete(lake, request, std::mem::take(&mut unneeded)).await?;
        }
    }
    delete(lake, request, unneeded).await?;
    Ok(tables)
}

fn first_counts(reach: &Reach) -> BTreeMap<Uuid, CleanedTable> {
    // After a merge a table may have files in the folder of one that another branch created under the same name.
    let mut problems = BTreeMap::new();
    for known in reach.tables.values() {
        if let Some(problem) = &known.problem {
            problems.insert(&known.name, problem);
        }
    }
    let each = reach.tables.iter().map(|(uuid, known)| {
        let table = CleanedTable {
            name: Some(known.name.clone()),
            problem: problems.get(&known.name).map(|problem| (*problem).clone()),
            ..CleanedTable::default()
        };
        (*uuid, table)
    });
    each.collect()
}

pub(super) fn before(now: Timestamp, age: Duration) -> Timestamp {
    let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
    Timestamp(now.micros().saturating_sub(age))
}

/// `tables/<uuid>/<data or metadata>/…`; all else is not ours to judge.
fn place(path: &Path) -> Option<(Uuid, Part)> {
    let mut parts = path.parts().skip(1);
    let folder = parts.next()?;
    // Only as it is written here: another spelling is another folder.
    let uuid = Uuid::try_parse(folder.as_ref()).ok();
    let uuid = uuid.filter(|uuid| uuid.to_string() == folder.as_ref())?;
    let part = match parts.next()?.as_ref() {
        "data" => Part::Data,
        "metadata" => Part::Metadata,
        _ => return None,
    };
    parts.next().map(|_| (uuid, part))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Data,
    Metadata,
}

/// Another that cleans may have been first.
pub(super) async fn delete(lake: &Lake, request: &CleanRequest, paths: Vec<Path>) -> Result<()> {
    if request.dry_run || paths.is_empty() {
        return Ok(());
    }
    let paths = stream::iter(paths.into_iter().map(Ok)).boxed();
    let mut deleted = lake.objects().delete_stream(paths);
    while let Some(answer) = deleted.next().await {
        match answer {
            Ok(_) | Err(Error::NotFound { .. }) => (),
            Err(error) => {
                return Err(from_objects(
                    "delete a file that is not needed",
                    "storage",
                    error,
                ));
            }
        }
    }
    Ok(())
}
