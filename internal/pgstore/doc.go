// Package pgstore keeps events, teams, tokens, drains and cursors in a
// PostgreSQL database that any number of nodes share.
//
// It guarantees:
//
//   - What a method has confirmed is committed, and can be seen by all nodes. It
//     is as durable as the database makes a commit: for a failover that loses
//     nothing it needs a synchronous standby. The exceptions say so: SaveProgress,
//     AddTallies, SealFailed and SealAnchored may be undone by a crash of the
//     database, the last calls first.
//   - A batch of events is stored whole or not at all, whatever happens.
//   - A team's sequence numbers start at 1, have no gaps and are never used
//     twice; and a number that can be read has all lower ones before it, so that
//     no cursor passes an event that becomes visible later.
//   - An event ID is stored once per team for as long as its event is kept.
//   - A change of the configuration and the activity that tells who made it are
//     one transaction. Activities are numbered without gaps.
//   - What other nodes change is seen at once, but for teams and tokens, which a
//     node remembers for a second: every request asks for one of each.
//
// All methods are safe for concurrent use.
//
// # When the database cannot be used
//
// A call that could not reach it, was broken off in the middle or took too long
// returns an *auditdrain.Error with CodeUnavailable. If it was to write, it has
// or has not: there is no telling when the connection is lost during a commit.
// Callers repeat what they need; events, cursors and marks can be sent again
// without harm. Connections, statements, locks and whole calls have bounds on
// their time, transactions of a node that has stopped are ended by the database,
// and after a lost connection all idle ones are dropped: they lead to the same
// place. Nothing has to be done for it to go on.
//
// # Locks
//
// The rows of sequences are what order rests on: Append, Retain, CreateDrain and
// StartReplay hold those of their teams until they commit, as does a Seal that
// may need events which were not needed before. All is READ
// COMMITTED, where each statement sees what was committed when it began; so the
// lock is one statement, and what decides by what is stored the next. They go
// to the database together, with what follows, and cost one round trip.
//
// Whoever holds several rows takes them in this order, so that nobody waits in a
// circle: sequences, drains, delivery, chains, counters; of one table by name. A
// transaction that the database breaks off nevertheless is begun again.
//
// A unique index on (team, ID) of events cannot exist: the unique indexes of a
// partitioned table contain what it is partitioned by. So Append looks IDs up,
// in an index of each day, while it holds the team's sequence.
//
// # Nodes
//
// A Node is one process's part of the work: the drains that it owns, for as long
// as it is heard of. All that it does for its leases is one row that it writes
// four times in each, however many drains there are; see leases.go. What others
// have stored or changed it asks for several times a second; see changes.go. What
// is to be done once for all is the duty of the node that has been there for
// longest; see OnDuty.
//
// # Tables
//
// migrations/ has them, with what is in them. In short:
//
//	teams, team_names, tokens, sessions, portal_links   by name or hash; the thing itself as JSON
//	activities, counters      who did what, and the number of the last one
//	signing_keys              what manifests are signed with, encrypted
//	drains                    configuration as JSON; version goes up with all that delivery obeys
//	delivery                  cursor and state of each drain, with owner and epoch: written all the time
//	attempts, series          rings: a slot is written again and again, nothing is deleted
//	skips, replays, notified  what people have told a drain, and were told of it
//	chains, seals             how far each drain's account is, and the manifests that are to be written
//	sequences, delivered      each team's last number, what is gone, and since when events are delivered
//	events                    one partition for each day (UTC) of acceptance, and one of leftovers
//	days                      the partitions that there are
//	nodes                     the processes that deliver, and when each was last heard of
//	imports                   an embedded store that is being moved here; see Import
//	needs (a view)            up to which number drains, and their manifests, need no event any more
//
// Events are removed by noting, in their team's sequence, up to which number
// they are gone: that is exact, costs one row however many they are, and hides
// them from every query. Their rows go when all of their day are gone, or half,
// and the others have moved to the partition of leftovers: to drop a partition
// costs the same however large it is, and leaves nothing to vacuum.
//
// # Which databases
//
// Tested is PostgreSQL 15. Meant to work, but not tested, is what speaks its
// protocol and dialect, with declarative partitions: later versions, Aurora,
// AlloyDB, YugabyteDB. For their sake there are no advisory locks, triggers,
// stored procedures or LISTEN (nodes ask for news), a transaction that is broken
// off for another (40001) is repeated, and the schema is the first in the
// search_path of the URL. A pooler between must keep a transaction on one
// connection, and let the settings through that we connect with (see parse).
package pgstore
