package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/auditdrain/auditdrain"
)

// line is one event of an NDJSON stream, or the error that ends the stream.
type line struct {
	number   int    // in the input, from 1; blank lines count
	id       string // "" if the event has none
	complete bool   // the event can be sent again without harm
	data     []byte
	end      int64 // bytes of the input up to and with this line
	err      error
}

// readLines sends the events of in to out, one by one, until the input ends,
// a line is at fault, or ctx is done; then it closes out. It checks only what
// is needed for sending events safely: the rest is the service's to say.
func readLines(ctx context.Context, in io.Reader, allowIncomplete bool, out chan<- line) {
	defer close(out)
	r := bufio.NewReaderSize(in, 64<<10)
	var l line
	for {
		data, n, err := readLine(r)
		l.number++
		l.end += int64(n)
		atEnd := errors.Is(err, io.EOF)
		if err != nil && !atEnd {
			l.err = fmt.Errorf("line %d: %w", l.number, err)
		} else if l.data = bytes.TrimSpace(data); len(l.data) > 0 {
			l.id, l.complete, err = checkLine(l.data, allowIncomplete)
			if err != nil {
				l.err = fmt.Errorf("line %d: %w", l.number, err)
			}
		}
		if l.err != nil || len(l.data) > 0 {
			select {
			case out <- l:
			case <-ctx.Done():
				return
			}
		}
		if l.err != nil || atEnd {
			return
		}
	}
}

// readLine reads up to and with the next line feed, and returns a copy and
// the number of bytes read. At the end of the input, the error is io.EOF and
// there may be data.
func readLine(r *bufio.Reader) (data []byte, n int, err error) {
	for {
		part, err := r.ReadSlice('\n')
		data = append(data, part...)
		switch {
		case len(data) > auditdrain.MaxBodyBytes:
			return nil, len(data), fmt.Errorf("longer than %d bytes", auditdrain.MaxBodyBytes)
		case !errors.Is(err, bufio.ErrBufferFull):
			return data, len(data), err
		}
	}
}

// checkLine returns the id of an event and whether it is complete, or what is
// wrong with it. An event is the same one again if it has the same id and the
// same bytes, and a timestamp that the service fills in is never the same.
func checkLine(data []byte, allowIncomplete bool) (id string, complete bool, err error) {
	// Not a struct: its fields would match "ID" and "Id", too.
	var event map[string]json.RawMessage
	if err := json.Unmarshal(data, &event); err != nil || event == nil {
		if err == nil {
			err = errors.New("null")
		}
		return "", false, fmt.Errorf("not a JSON object: %w", err)
	}
	if tooLarge(data) {
		return "", false, fmt.Errorf("an event has at most %d bytes", auditdrain.MaxEventBytes)
	}
	raw, hasID := event["id"]
	if hasID {
		if err := json.Unmarshal(raw, &id); err != nil || !auditdrain.ValidEventID(id) {
			return "", false, fmt.Errorf("id %s is not allowed: use 1 to 128 of A-Z, a-z, 0-9, ., _ and -", cut(string(raw), 140))
		}
	}
	_, hasTimestamp := event["timestamp"]
	if !allowIncomplete {
		const wayOut = "complete it, or use --allow-incomplete"
		switch {
		case !hasID && !hasTimestamp:
			return "", false, errors.New("no id and no timestamp: sending the event again would deliver it twice; " + wayOut)
		case !hasID:
			return "", false, errors.New("no id: sending the event again would deliver it twice; " + wayOut)
		case !hasTimestamp:
			return "", false, errors.New("no timestamp: sending the event again would be refused; " + wayOut)
		}
	}
	return id, hasID && hasTimestamp, nil
}

// tooLarge reports whether an event is too large even without its white space.
func tooLarge(data []byte) bool {
	if len(data) <= auditdrain.MaxEventBytes {
		return false
	}
	var compact bytes.Buffer
	return json.Compact(&compact, data) == nil && compact.Len() > auditdrain.MaxEventBytes
}
