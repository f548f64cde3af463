// Package activity makes events of what people do to auditdrain itself, in a
// team of their own, so that they can be drained like any team's.
//
// It guarantees that each activity that is recorded becomes exactly one event,
// in the order of their numbers, whatever crashes: activities are stored in the
// same commit as what they tell of, the number of the last one that has become
// an event is stored too, and one that is forwarded again, since a crash came
// between the two, is the same event with the same ID and bytes, which the
// store takes for a duplicate; and should it have delivered and removed that
// event by then, S3 does, since the object's key is the same too.
package activity

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/auditdrain/auditdrain"
)

const (
	// pollEvery is how often the store is looked at without being told:
	// another node may have recorded something.
	pollEvery = time.Minute
	// retryAfter is the pause after a failure.
	retryAfter = 5 * time.Second
	// pageSize is how many activities are read at once, and at most become the
	// same events again after a crash.
	pageSize = 100
)

// Store keeps activities, and how many of them have become events.
type Store interface {
	// ActivitiesAfter returns those with higher numbers than after, in their
	// order.
	ActivitiesAfter(ctx context.Context, after uint64, limit int) ([]auditdrain.Activity, error)
	// Recorded gets a value after something was recorded. It may be missed.
	Recorded() <-chan struct{}
	Forwarded(ctx context.Context) (number uint64, err error)
	// SaveForwarded is durable when it returns nil.
	SaveForwarded(ctx context.Context, number uint64) error
}

// Committer makes events durable. Sending the same again does no harm.
type Committer interface {
	Commit(ctx context.Context, b auditdrain.Batch) (auditdrain.EventsResult, error)
}

// Forwarder makes events of activities.
type Forwarder struct {
	Namespace auditdrain.Namespace
	Store     Store
	Events    Committer
	Log       *slog.Logger
}

// Run forwards what is recorded, until ctx ends, and returns nil. What fails is
// repeated without end. One Forwarder of a store runs at a time; more would do
// no harm but work.
func (f *Forwarder) Run(ctx context.Context) error {
	failing := false
	for {
		wait := pollEvery
		recorded := f.Store.Recorded()
		err := f.forward(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if !failing {
				f.Log.Error("activity does not become events for now; nothing of it is lost", "err", err)
			}
			wait, recorded = retryAfter, nil
		case failing:
			f.Log.Info("activity becomes events again")
		}
		failing = err != nil
		timer := time.NewTimer(wait)
		select {
		case <-recorded:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// forward makes events of all activities that are not events yet.
func (f *Forwarder) forward(ctx context.Context) error {
	last, err := f.Store.Forwarded(ctx)
	if err != nil {
		return err
	}
	for {
		page, err := f.Store.ActivitiesAfter(ctx, last, pageSize)
		if err != nil || len(page) == 0 {
			return err
		}
		// One by one: the store would refuse all of a batch for the sake of one.
		for _, a := range page {
			if err := f.commit(ctx, a); err != nil {
				return fmt.Errorf("activity %d: %w", a.Number, err)
			}
		}
		last = page[len(page)-1].Number
		if err := f.Store.SaveForwarded(ctx, last); err != nil {
			return err
		}
	}
}

func (f *Forwarder) commit(ctx context.Context, a auditdrain.Activity) error {
	e, err := Event(f.Namespace, a)
	if err != nil {
		return err
	}
	_, err = f.Events.Commit(ctx, auditdrain.Batch{TeamID: auditdrain.SystemTeam, Events: []auditdrain.Event{e}})
	if auditdrain.ErrorCode(err) == auditdrain.CodeConflict {
		// An earlier version has made the event just before a crash, and said
		// it in other words.
		return nil
	}
	return err
}

// event is the form of an audit event.
type event struct {
	Schema    string  `json:"schema"`
	ID        string  `json:"id"`
	TeamID    string  `json:"teamId"`
	Action    string  `json:"action"`
	Timestamp int64   `json:"timestamp"`
	Actor     actor   `json:"actor"`
	UserAgent string  `json:"userAgent,omitempty"`
	IPAddress string  `json:"ipAddress,omitempty"`
	TokenID   string  `json:"tokenId,omitempty"`
	Payload   payload `json:"payload"`
}

type actor struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Name string `json:"name"`
}

// payload is what an activity has that an event has no field for.
type payload struct {
	Number  uint64                      `json:"number"` // without gaps: a missing one would show
	TeamID  string                      `json:"teamId,omitempty"`
	Role    auditdrain.Role             `json:"role"`
	Session string                      `json:"session,omitempty"`
	Target  *target                     `json:"target,omitempty"`
	Changes []auditdrain.ActivityChange `json:"changes,omitempty"`
}

type target struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
}

// Event returns a as an event of auditdrain.SystemTeam. It depends on nothing
// else, so that it is the same each time.
func Event(ns auditdrain.Namespace, a auditdrain.Activity) (auditdrain.Event, error) {
	doc := event{
		Schema:    ns.Schema(),
		ID:        a.ID,
		TeamID:    auditdrain.SystemTeam,
		Action:    a.Action,
		Timestamp: a.At,
		// Behind a session is a person; behind a token may be anything.
		Actor:     actor{Type: "user", ID: a.Actor.ID, Name: a.Actor.Name},
		UserAgent: a.UserAgent,
		IPAddress: a.IPAddress,
		Payload:   payload{Number: a.Number, TeamID: a.TeamID, Role: a.Actor.Role, Session: a.Actor.Session, Changes: a.Changes},
	}
	if a.Actor.Session == "" {
		doc.Actor.Type, doc.TokenID = "app", a.Actor.ID
	}
	if a.TargetID != "" {
		doc.Payload.Target = &target{ID: a.TargetID, Name: a.TargetName}
	}
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(doc); err != nil {
		return auditdrain.Event{}, err
	}
	return auditdrain.Event{ID: a.ID, Timestamp: a.At, Body: bytes.TrimSuffix(body.Bytes(), []byte("\n"))}, nil
}
