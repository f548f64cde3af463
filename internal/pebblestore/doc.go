// Package pebblestore keeps events, teams, tokens, drains and cursors in one
// directory of one machine, in a Pebble LSM tree.
//
// It guarantees:
//
//   - What a method has confirmed is on disk: it survives the process being
//     killed and the machine losing power. The exceptions say so: SaveCursor,
//     SaveDeliveryState and Trim may be undone by a crash, always to an
//     earlier state of theirs and never by themselves alone: the log on disk
//     is a prefix of what was written.
//   - A batch of events is stored whole or not at all, whatever happens.
//   - A team's sequence numbers start at 1, have no gaps, are never used
//     twice, and Read never shows an event that a crash could still take back.
//   - An event ID is stored once per team for as long as its event is kept.
//
// All methods are safe for concurrent use.
//
// # When the disk fails
//
// The first write that the disk refuses ends the store: nothing more is
// written, every call, also those in progress, returns an *auditdrain.Error
// with CodeUnavailable, Failed is closed and Err tells the cause. It is not
// known then whether the writes in progress took place; nothing of them was
// confirmed. The process should end and be started again: opening the
// directory finds every batch there entirely or not at all. (Pebble by itself
// would end the process, or crash it, or retry without a pause, depending on
// which file was hit.)
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
//	!format                    the layout's version in decimal: 1
//	t/TEAM                     the team, as JSON
//	u/SLUG                     TEAM
//	k/HASH (64 hex digits)     the token, as JSON without its hash
//	n/TOKEN                    HASH
//	d/TEAM/DRAIN               the drain, as JSON
//	c/DRAIN                    cursor, 8 bytes
//	v/DRAIN                    the delivery state, as JSON
//	s/TEAM                     the team's last sequence number, 8 bytes,
//	                           and when that event was accepted, 8 bytes, Unix µs
//	e/TEAM/SEQUENCE (8 bytes)  when it was accepted, 8 bytes, Unix µs;
//	                           its own timestamp, 8 bytes, Unix ms;
//	                           the length of its ID, 1 byte; its ID; its body
//	i/TEAM/EVENT ID            SEQUENCE
//	r/TEAM                     JSON: up to which number events were delivered, and when; see Retain
//
// A directory written by a newer version is refused untouched. Pebble's own
// format is pinned (formatMajorVersion), so that a new version of Pebble does
// not change it behind our back.
package pebblestore
