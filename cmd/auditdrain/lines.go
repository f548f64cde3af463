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
	number int    // in the input, from 1; blank lines count
	id     string // "" if the event has none
	data   []byte
	end    int64 // bytes of the input up to and with this line
	err    error
}

// readLines sends the events of in to out, one by one, until the input ends,
// a line is at fault, or ctx is done; then it closes out. It checks only what
// is needed for sending events safely: the rest is the service's to say.
func readLines(ctx context.Context, in io.Reader, allowMissingIDs bool, out chan<- line) {
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
			l.id, err = checkLine(l.data, allowMissingIDs)
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

// checkLine returns the id of an event, or what is wrong with it.
func checkLine(data []byte, allowMissingID bool) (id string, err error) {
	// Not a struct: its fields would match "ID" and "Id", too.
	var event map[string]json.RawMessage
	if err := json.Unmarshal(data, &event); err != nil || event == nil {
		if err == nil {
			err = errors.New("null")
		}
		return "", fmt.Errorf("not a JSON object: %w", err)
	}
	if tooLarge(data) {
		return "", fmt.Errorf("an event has at most %d bytes", auditdrain.MaxEventBytes)
	}
	raw, ok := event["id"]
	if !ok {
		if allowMissingID {
			return "", nil
		}
		return "", errors.New("no id: sending the event again would deliver it twice; give it one, or use --allow-missing-ids")
	}
	if err := json.Unmarshal(raw, &id); err != nil || !auditdrain.ValidEventID(id) {
		return "", fmt.Errorf("id %s is not allowed: use 1 to 128 of A-Z, a-z, 0-9, ., _ and -", cut(string(raw), 140))
	}
	return id, nil
}

// tooLarge reports whether an event is too large even without its white space.
func tooLarge(data []byte) bool {
	if len(data) <= auditdrain.MaxEventBytes {
		return false
	}
	var compact bytes.Buffer
	return json.Compact(&compact, data) == nil && compact.Len() > auditdrain.MaxEventBytes
}
