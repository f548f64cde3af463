// Package pebblestore keeps events, teams, tokens, drains and cursors in one
// directory of one machine, in a Pebble LSM tree.
//
// It guarantees:
//
//   - What a method has confirmed is on disk: it survives the process being
//     killed and the machine losing power. The exceptions say so:
//     SaveProgress, AddTallies, SealFailed, SealAnchored and Retain may be undone
//     by a crash, always to an earlier state of theirs and never by themselves
//     alone: the log on disk is a prefix of what was written.
//   - A batch of events is stored whole or not at all, whatever happens.
//   - A team's sequence numbers start at 1, have no gaps, are never used
//     twice, and Read never shows an event that a crash could still take back.
//   - An event ID is stored once per team for as long as its event is kept.
//   - A change of the configuration and the activity that tells who made it
//     are stored in one commit. Activities are numbered without gaps.
//
// All methods are safe for concurrent use. The latest events of all teams stay
// in memory, within a bound, so that deliveries that keep up with them read
// nothing from disk.
//
// # When the disk fails
//
// Whatever it is, nothing is confirmed that is not durable. What cannot be done
// returns an *auditdrain.Error with CodeUnavailable; Admit tells beforehand, and
// Run has it end by itself.
//
//   - Less is free than Options.MinFree: only Admit says so, so that events are
//     refused before they are read. All else goes on.
//   - The disk is full (ENOSPC, EDQUOT): the write waits, and goes on where it
//     stopped once there is space. Until then calls that write are refused, also
//     those in progress, whose writes take place later or are lost in a crash.
//     Calls that read go on, but for those that wait for a write for a second.
//   - Any other write fails, or a sync, for whatever reason: all calls are
//     refused, also those in progress, of which it is not known whether they
//     took place. Once the disk can be written again, the directory is opened
//     anew in the same process, with what a crash at that moment would have left.
//     That leaves goroutines, files and memory behind, and is done three times
//     at most; then Run returns an error, and the process should end.
//
// (Pebble by itself would end the process, or crash it, or retry without a
// pause, depending on which file was hit.)
//
// An unreadable block is different: it is logged, and the calls that need it
// return an error. Restarting would not mend it, and it may concern a single
// team.
//
// # On disk
//
// The directory is a Pebble database with the default comparer; the pebble
// command reads it ("pebble db scan DIR"). Teams, event IDs and drain IDs
// contain no slash. Numbers are big-endian.
//
//	key                        value
//	!format                    the layout's version in decimal: 2
//	t/TEAM                     the team, as JSON
//	u/SLUG                     TEAM
//	k/HASH (64 hex digits)     the token, as JSON without its hash
//	n/TOKEN                    HASH
//	v/HASH (64 hex digits)     the session, as JSON without its hash
//	l/HASH (64 hex digits)     the portal link, as JSON without its hash
//	a/NUMBER (8 bytes)         an activity, as JSON; they are never removed
//	b/TEAM/NUMBER (8 bytes)    nothing: activity NUMBER is about this team
//	p/NUMBER (8 bytes)         a key that manifests are signed with, as JSON; they are never removed
//	!forwarded                 the number of the last activity that is an event, 8 bytes
//	d/TEAM/DRAIN               the drain, as JSON
//	c/DRAIN                    cursor, 8 bytes; the delivery state, as JSON, once there is one
//	f/DRAIN/NUMBER (8 bytes)   a failed attempt, as JSON; NUMBER is modulo MaxFailures
//	g/DRAIN/NUMBER (8 bytes)   another attempt, as JSON; NUMBER is modulo MaxSamples
//	h/DRAIN/SPAN (1) STEP (1)  what it did in a step of a span (0 to 2, as auditdrain.Spans; STEP is
//	                           modulo their number): when the step began, 8 bytes, Unix ms; events
//	                           delivered, attempts failed and the backlog, as varints; the latencies,
//	                           see auditdrain.LatencyHistogram
//	x/DRAIN/FROM (8) TO (8)    a skip, as JSON
//	y/DRAIN                    the last replay that was ordered, as JSON
//	w/DRAIN                    what the operator has been told of it, as JSON; see Notified
//	o/DRAIN                    its chain, as JSON; goes after the drain, once all of it is written
//	m/DRAIN/NUMBER (8 bytes)   a seal whose manifest is not written yet, as JSON
//	s/TEAM                     the team's last sequence number, 8 bytes;
//	                           when that event was accepted, 8 bytes, Unix µs;
//	                           the bytes of all its bodies up to that, 8 bytes
//	e/TEAM/SEQUENCE (8 bytes)  when it was accepted, 8 bytes, Unix µs;
//	                           its own timestamp, 8 bytes, Unix ms;
//	                           the bytes of all bodies of the team up to this, 8 bytes;
//	                           the length of its ID, 1 byte; its ID; its body
//	i/TEAM/EVENT ID            SEQUENCE; of no effect if that event is no longer there
//	r/TEAM                     JSON: up to which number events were delivered, and when,
//	                           and up to which the index was swept; see Retain
//
// Attempts and series are rings: the next one takes the place of the oldest,
// nothing is ever deleted.
//
// A directory written by a newer version is refused untouched, as is one of
// layout 1, which was never released. Pebble's own
// format is pinned (formatMajorVersion), so that a new version of Pebble does
// not change it behind our back.
package pebblestore
