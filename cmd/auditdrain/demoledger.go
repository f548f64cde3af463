package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/pebblestore"
)

// demoLedger is the producer's own record of what the service acknowledged,
// kept beside the service and independent of it. A batch is written to
// pending.ndjson before it is sent, so that after a crash the demo knows what
// to send again: sending twice is harmless.
type demoLedger struct {
	pending string // file of the batch under way
	acked   *os.File
	events  map[string]string // acknowledged: object key to SHA-256 of the object
}

// openDemoLedger reads what earlier runs in the same folder wrote.
func openDemoLedger(dir string) (*demoLedger, error) {
	l := &demoLedger{pending: filepath.Join(dir, "pending.ndjson"), events: make(map[string]string)}
	f, err := os.OpenFile(filepath.Join(dir, "acknowledged.tsv"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	l.acked = f
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// A line that a crash cut short is not one; its batch is still pending.
		if key, sum, ok := strings.Cut(lines.Text(), "\t"); ok && len(sum) == hex.EncodedLen(sha256.Size) {
			l.events[key] = sum
		}
	}
	if err := lines.Err(); err != nil {
		return nil, errors.Join(fmt.Errorf("read ledger: %w", err), f.Close())
	}
	return l, nil
}

func (l *demoLedger) close() { l.acked.Close() }

func (l *demoLedger) total() int { return len(l.events) }

// intend notes a batch that is about to be sent.
func (l *demoLedger) intend(batch [][]byte) error {
	tmp := l.pending + ".tmp"
	if err := os.WriteFile(tmp, bytes.Join(batch, []byte("\n")), 0o644); err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	return os.Rename(tmp, l.pending)
}

// unacknowledged returns the batch that an earlier run may or may not have
// got acknowledged, or nil.
func (l *demoLedger) unacknowledged() [][]byte {
	content, err := os.ReadFile(l.pending)
	if err != nil || len(content) == 0 {
		return nil
	}
	return bytes.Split(content, []byte("\n"))
}

// acknowledge notes that the service has accepted a batch.
func (l *demoLedger) acknowledge(batch [][]byte) error {
	var lines bytes.Buffer
	for _, body := range batch {
		var e struct {
			ID        string `json:"id"`
			Timestamp int64  `json:"timestamp"`
		}
		if err := json.Unmarshal(body, &e); err != nil {
			return fmt.Errorf("read our own event: %w", err)
		}
		key, sum := demoObject(auditdrain.Event{ID: e.ID, Timestamp: e.Timestamp, Body: body})
		l.events[key] = sum
		fmt.Fprintf(&lines, "%s\t%s\n", key, sum)
	}
	if _, err := l.acked.Write(lines.Bytes()); err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	return os.Remove(l.pending)
}

// addStored adds the events that others have sent to the team meanwhile: a
// person who tries the API. The service must have stopped.
func (l *demoLedger) addStored(ctx context.Context, data string) error {
	store, err := pebblestore.Open(data, pebblestore.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	for after := uint64(0); ; {
		events, err := store.Read(ctx, demoTeam, after, 1000, 8<<20)
		if err != nil {
			return fmt.Errorf("read the store: %w", err)
		}
		if len(events) == 0 {
			return nil
		}
		for _, e := range events {
			if key, sum := demoObject(e.Event); l.events[key] == "" {
				l.events[key] = sum
			}
		}
		after = events[len(events)-1].Seq
	}
}

// demoObject is where the demo's drain has to write an event, and the SHA-256
// of what.
func demoObject(e auditdrain.Event) (key, sum string) {
	delivery := auditdrain.Delivery{Endpoint: demoEndpoint, Encoding: "ndjson"}
	digest := sha256.Sum256(delivery.ObjectBody(e))
	return delivery.ObjectKey(e, false), hex.EncodeToString(digest[:])
}

// verdict compares the bucket with the ledger.
func verdict(out io.Writer, sim *awssim.Sim, l *demoLedger) error {
	objects, err := sim.Objects(demoBucket)
	if err != nil {
		return err
	}
	found, wrong, unexpected, others := 0, 0, 0, 0
	for _, o := range objects {
		switch want, ok := l.events[o.Key]; {
		case strings.HasPrefix(o.Key, "audit-logs/manifest/"): // see prove
		case !strings.HasPrefix(o.Key, "audit-logs/schema=") || !strings.HasSuffix(o.Key, ".jsonl"):
			others++ // of test deliveries, or of another drain that somebody tries
		case !ok:
			unexpected++
		case want != o.SHA256:
			wrong++
		default:
			found++
		}
	}
	missing := l.total() - found - wrong
	rewritten := len(sim.Rewrites())
	if missing+wrong+unexpected+rewritten > 0 {
		return fmt.Errorf("NOT EQUAL: of %d acknowledged events, %d objects are missing and %d have other bytes; %d objects belong to no acknowledged event; %d were rewritten",
			l.total(), missing, wrong, unexpected, rewritten)
	}
	fmt.Fprintf(out, "EQUAL: %d acknowledged events, %d objects, the same bytes; nothing missing, nothing else, nothing rewritten.\n", l.total(), found)
	if others > 0 {
		fmt.Fprintf(out, "Not compared: %d objects elsewhere in the bucket, of test deliveries or other drains.\n", others)
	}
	return nil
}
