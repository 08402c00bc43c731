//! Layouts of the store, and the way from each to the next.
//!
//! A layout is everything that a program must know to read and write the file: tables, keys, and which fields a
//! record may have. Whoever changes one of these adds a step, even one that has nothing to do: an older program
//! would drop the fields that it does not know with the next write, so it has to refuse the file. Each released
//! layout has a store in `tests/stores`, and a test that opens it.

use redb::{Database, ReadableDatabase};

use crate::store::apply::Batch;
use crate::store::layers::snapshot::Snapshot;
use crate::store::opening::open;
use crate::store::record::decode;
use crate::store::rows::{Rows, Table};
use crate::store::view::meta;
use crate::store::{OpenError, ReadError};

/// What turns a store of one layout into one of the next. All steps that a store needs run in one transaction.
struct Step {
    /// What the layout has gained, for the log.
    gained: &'static str,
    run: fn(&mut Batch) -> Result<(), ReadError>,
}

/// The steps in the order of their layouts: the first leads from 1 to 2. They are never changed once released.
const STEPS: &[Step] = &[
    Step { gained: "the first layout of 0.2.0", run: |_| Ok(()) },
    Step {
        gained: "indexes by tenant, and names beside the audit chain",
        run: |batch| batch.index_everything(),
    },
    Step {
        gained: "what API tokens were made with, where sessions are from, longer user names",
        run: |_| Ok(()),
    },
    Step { gained: "how long the server has run by which clock", run: |_| Ok(()) },
    Step { gained: "which credential let a host in", run: |batch| batch.note_what_let_hosts_in() },
    Step { gained: "when an intermediate begins to issue, and the root's revocation list", run: |_| Ok(()) },
    Step { gained: "versions of what decides whether an agent is let in", run: |_| Ok(()) },
    Step {
        gained: "intermediates that are revoked or have lost their keys, lifetimes of SVIDs",
        run: |_| Ok(()),
    },
    Step { gained: "keys of JWT-SVIDs", run: |_| Ok(()) },
    Step {
        gained: "whose certificates are denied, and by which clock watchers of trust were told",
        run: |batch| batch.note_whose_denied_serials_are(),
    },
    Step { gained: "a change log beside the store", run: |_| Ok(()) },
    Step { gained: "restore epochs, and what waits for the operator after one", run: |_| Ok(()) },
    Step { gained: "webhooks and their queues", run: |_| Ok(()) },
    Step {
        gained: "tags and notes of hosts, who was online, another root beside the first",
        run: |_| Ok(()),
    },
];

/// The layout that this version reads and writes.
#[expect(clippy::cast_possible_truncation, reason = "there are not four billion steps")]
pub(crate) const LAYOUT: u32 = 1 + STEPS.len() as u32;

/// Why a store of a certain layout can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unusable {
    Newer(u32),
    Nonsense(String),
}

/// The layout of a store, if this version can work with it.
pub(crate) fn known_layout(database: &impl ReadableDatabase) -> Result<Result<u32, Unusable>, ReadError> {
    let transaction = database.begin_read().map_err(|e| Table::Meta.error(e))?;
    let Ok(Some(content)) = Snapshot::of_file(transaction).get(Table::Meta, meta::SCHEMA) else {
        return Ok(Err(Unusable::Nonsense("it does not say which layout it has".to_owned())));
    };
    Ok(match decode::<u32>(Table::Meta, &content)? {
        0 => Err(Unusable::Nonsense("it claims layout 0, which never existed".to_owned())),
        found if found > LAYOUT => Err(Unusable::Newer(found)),
        found => Ok(found),
    })
}

/// Brings a store from layout `found` to the newest, in one transaction.
pub(crate) fn migrate(database: &Database, found: u32) -> Result<(), OpenError> {
    let pending = STEPS.get(usize::try_from(found).unwrap_or(usize::MAX) - 1..).unwrap_or_default();
    if pending.is_empty() {
        return Ok(());
    }
    open::write(database, |batch| {
        for step in pending {
            (step.run)(batch)?;
        }
        batch.set_layout(LAYOUT)
    })?;
    let gained: Vec<_> = pending.iter().map(|step| step.gained).collect();
    tracing::info!(from = found, to = LAYOUT, gained = gained.join(", "), "the store's layout was migrated");
    Ok(())
}
