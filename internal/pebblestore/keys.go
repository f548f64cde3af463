package pebblestore

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/auditdrain/auditdrain"
)

// The first bytes of the keys; see the package documentation.
const (
	formatKey          = "!format"
	forwardedKey       = "!forwarded"
	teamPrefix         = "t/"
	slugPrefix         = "u/"
	tokenPrefix        = "k/"
	tokenIDPrefix      = "n/"
	sessionPrefix      = "v/"
	portalLinkPrefix   = "l/"
	activityPrefix     = "a/"
	teamActivityPrefix = "b/"
	signingKeyPrefix   = "p/"
	drainPrefix        = "d/"
	progressPrefix     = "c/"
	failurePrefix      = "f/"
	samplePrefix       = "g/"
	skipPrefix         = "x/"
	seriesPrefix       = "h/"
	replayPrefix       = "y/"
	notifiedPrefix     = "w/"
	chainPrefix        = "o/"
	sealPrefix         = "m/"
	sequencePrefix     = "s/"
	eventPrefix        = "e/"
	indexPrefix        = "i/"
	retentionPrefix    = "r/"
)

func key(prefix, name string) []byte { return append([]byte(prefix), name...) }

func drainKey(teamID, id string) []byte {
	return append(key(drainPrefix, teamID), "/"+id...)
}

// ofDrain returns the first part of the keys of what there is many of with a
// drain: numbers follow.
func ofDrain(prefix, drainID string) []byte { return append(key(prefix, drainID), '/') }

// end returns the first key after all those that begin with prefix, which
// must not end in 0xff.
func end(prefix []byte) []byte {
	e := append([]byte(nil), prefix...)
	e[len(e)-1]++
	return e
}

func eventKeyLen(teamID string) int { return len(eventPrefix) + len(teamID) + 1 + 8 }

func appendEventKey(b []byte, teamID string, seq uint64) []byte {
	b = append(append(append(b, eventPrefix...), teamID...), '/')
	return binary.BigEndian.AppendUint64(b, seq)
}

func appendIndexKey(b []byte, teamID, eventID string) []byte {
	b = append(append(append(b, indexPrefix...), teamID...), '/')
	return append(b, eventID...)
}

const eventHeaderLen = 8 + 8 + 8 + 1

func eventValueLen(e auditdrain.Event) int { return eventHeaderLen + len(e.ID) + len(e.Body) }

// putEvent writes e into v, which has the length of eventValueLen.
func putEvent(v []byte, e auditdrain.Event, acceptedAt int64, totalBytes uint64) {
	binary.BigEndian.PutUint64(v, uint64(acceptedAt))
	binary.BigEndian.PutUint64(v[8:], uint64(e.Timestamp))
	binary.BigEndian.PutUint64(v[16:], totalBytes)
	v[24] = byte(len(e.ID))
	n := copy(v[eventHeaderLen:], e.ID)
	copy(v[eventHeaderLen+n:], e.Body)
}

// eventRecord is a stored event, decoded as far as it takes no memory. It
// shares the memory of the record it was made from.
type eventRecord struct {
	seq        uint64
	acceptedAt int64 // Unix µs
	timestamp  int64 // Unix ms
	totalBytes uint64
	id         []byte
	body       []byte
}

func decodeEvent(key, value []byte) (eventRecord, error) {
	if len(key) < 8 || len(value) < eventHeaderLen || len(value) < eventHeaderLen+int(value[24]) {
		return eventRecord{}, fmt.Errorf("record %q is damaged: %d bytes", key, len(value))
	}
	body := eventHeaderLen + int(value[24])
	return eventRecord{
		seq:        binary.BigEndian.Uint64(key[len(key)-8:]),
		acceptedAt: int64(binary.BigEndian.Uint64(value)),
		timestamp:  int64(binary.BigEndian.Uint64(value[8:])),
		totalBytes: binary.BigEndian.Uint64(value[16:]),
		id:         value[eventHeaderLen:body],
		body:       value[body:],
	}, nil
}

func microTime(us int64) time.Time { return time.UnixMicro(us).UTC() }
