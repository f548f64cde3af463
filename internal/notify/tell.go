package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/auditdrain/auditdrain"
	"github.com/auditdrain/auditdrain/internal/deliver"
	"github.com/auditdrain/auditdrain/internal/webhook"
)

// tell looks at a drain, and tells of it what there is to tell.
func (n *Notifier) tell(ctx context.Context, id string, k known) told {
	t := told{drainID: id, known: k}
	for _, kind := range kinds {
		s, ok, err := n.look(ctx, id)
		if err != nil {
			t.err = err
			return t
		}
		if !ok {
			t.gone = true
			return t
		}
		heard, err := n.tellKind(ctx, kind, s, &t.known)
		t.heard = t.heard || heard
		if auditdrain.ErrorCode(err) == auditdrain.CodeNotFound { // deleted meanwhile
			t.gone = true
			return t
		}
		if err != nil {
			t.err = err
			return t
		}
	}
	return t
}

// look returns how a drain is doing now, and false if there is none.
func (n *Notifier) look(ctx context.Context, id string) (s auditdrain.Standing, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	for s, err := range deliver.Standings(ctx, n.Drains, auditdrain.DrainQuery{ID: id}) {
		if err != nil {
			return s, false, fmt.Errorf("look at drain: %w", err)
		}
		return s, true, nil
	}
	return s, false, nil
}

// tellKind tells of one kind of trouble. The mark is saved before the call, so
// that a crash in between leaves that it may have been made, and after. heard
// says that the receiver has confirmed it.
func (n *Notifier) tellKind(ctx context.Context, kind kind, s auditdrain.Standing, k *known) (heard bool, err error) {
	now := time.Now()
	m := kind.mark(k)
	trouble, since := kind.trouble(n, s, *m, now)
	next, tell := m.next(trouble, since)
	if err := n.save(ctx, s.Drain.ID, k, m, next); err != nil || !tell {
		return false, err
	}
	notice := newNotice(s, now)
	notice.Since = next.Since
	notice.Type = kind.begun
	if next.Phase == auditdrain.NoticeEnding {
		notice.Type = kind.over
	}
	unsure, err := n.call(ctx, notice)
	if err != nil {
		m.unsure = m.unsure || unsure
		n.calls.WithLabelValues("failed").Inc()
		return false, err
	}
	n.calls.WithLabelValues("sent").Inc()
	// Also if we are being stopped: else it would be told again.
	err = n.save(context.WithoutCancel(ctx), s.Drain.ID, k, m, next.confirmed())
	if err != nil {
		m.unsure = true
	}
	return true, err
}

// save sets a mark of k to next, and stores it if it is another one. If it
// cannot be stored, the mark stays as it was.
func (n *Notifier) save(ctx context.Context, drainID string, k *known, m *mark, next mark) error {
	before := *m
	*m = next
	if next.NoticeMark == before.NoticeMark {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if err := n.Store.SaveNotified(ctx, drainID, k.stored()); err != nil {
		*m = before
		return fmt.Errorf("save what is notified: %w", err)
	}
	return nil
}

func newNotice(s auditdrain.Standing, now time.Time) auditdrain.Notice {
	notice := auditdrain.Notice{
		At: now.UnixMilli(),
		Drain: auditdrain.NoticeDrain{
			ID: s.Drain.ID, Name: s.Drain.Name, TeamID: s.Drain.TeamID, Endpoint: s.Drain.Delivery.Endpoint,
		},
		Status:            s.Status(),
		LastError:         s.State.LastError,
		BacklogEvents:     s.Events,
		BacklogBytes:      s.Bytes,
		OldestUndelivered: int64(s.Age(now).Seconds()),
	}
	if d := s.State.Diagnosis; d != nil {
		notice.Diagnosis = &auditdrain.NoticeDiagnosis{Summary: d.Summary, RequestID: d.RequestID}
		if len(d.Causes) > 0 {
			notice.Diagnosis.Who, notice.Diagnosis.Fix = d.Causes[0].Who, d.Causes[0].Fix
		}
	}
	return notice
}

// noticeID names what is told, and is the same in every repeat.
func noticeID(notice auditdrain.Notice) string {
	return notice.Drain.ID + "_" + strings.TrimPrefix(string(notice.Type), "drain.") + "_" + strconv.FormatInt(notice.Since, 10)
}

// call makes one call. After an error, unsure says that the receiver may have
// heard all the same.
func (n *Notifier) call(ctx context.Context, notice auditdrain.Notice) (unsure bool, err error) {
	body, err := json.Marshal(notice)
	if err != nil {
		return false, err
	}
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	id, timestamp := noticeID(notice), strconv.FormatInt(time.Now().Unix(), 10)
	header := http.Header{}
	header.Set("webhook-id", id)
	header.Set("webhook-timestamp", timestamp)
	header.Set("webhook-signature", signatures(n.Secrets, id, timestamp, body))
	err = n.client.Post(ctx, n.URL, header, body)
	if answer, ok := errors.AsType[*webhook.StatusError](err); ok {
		// A gateway's error does not say what the receiver behind it has done.
		return answer.Code == http.StatusBadGateway || answer.Code == http.StatusGatewayTimeout, err
	}
	return err != nil && sent.Load(), err
}
