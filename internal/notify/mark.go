package notify

import (
	"time"

	"github.com/auditdrain/auditdrain"
)

// mark is a stored mark, and whether the receiver may know more, or less, than
// was confirmed: a call had no answer.
type mark struct {
	auditdrain.NoticeMark
	unsure bool
}

// known is what the receiver knows of a drain.
type known struct{ errored, delayed mark }

// recall returns what was stored. A process that was killed may have been
// making a call.
func recall(n auditdrain.Notified) known {
	m := func(s auditdrain.NoticeMark) mark {
		return mark{s, s.Phase == auditdrain.NoticeTelling || s.Phase == auditdrain.NoticeEnding}
	}
	return known{m(n.Errored), m(n.Delayed)}
}

func (k known) stored() auditdrain.Notified {
	return auditdrain.Notified{Errored: k.errored.NoticeMark, Delayed: k.delayed.NoticeMark}
}

// next returns the mark for a drain that is in trouble (since) or is not, and
// whether there is something to tell. What to tell is the mark's phase.
//
//	            in trouble                      not in trouble
//	none        telling                         –
//	telling     go on                           none; ending if unsure
//	told        –                               ending
//	ending      told; telling anew if unsure    go on
func (m mark) next(trouble bool, since int64) (next mark, tell bool) {
	phase := func(p auditdrain.NoticePhase, since int64) mark {
		return mark{auditdrain.NoticeMark{Since: since, Phase: p}, m.unsure}
	}
	switch {
	case m.Phase == auditdrain.NoticeNone && trouble:
		return phase(auditdrain.NoticeTelling, since), true
	case m.Phase == auditdrain.NoticeTelling && trouble, m.Phase == auditdrain.NoticeEnding && !trouble:
		return m, true
	case m.Phase == auditdrain.NoticeTelling && !m.unsure:
		return mark{}, false
	case m.Phase == auditdrain.NoticeTelling, m.Phase == auditdrain.NoticeTold && !trouble:
		return phase(auditdrain.NoticeEnding, m.Since), true
	case m.Phase == auditdrain.NoticeEnding && !m.unsure:
		return phase(auditdrain.NoticeTold, m.Since), false
	case m.Phase == auditdrain.NoticeEnding:
		return phase(auditdrain.NoticeTelling, since), true
	}
	return m, false
}

// confirmed returns the mark after the receiver has heard what was told.
func (m mark) confirmed() mark {
	if m.Phase == auditdrain.NoticeTelling {
		return mark{NoticeMark: auditdrain.NoticeMark{Since: m.Since, Phase: auditdrain.NoticeTold}}
	}
	return mark{}
}

// kind is one kind of trouble: what its notices are called, where its mark is,
// and whether a drain is in it.
type kind struct {
	begun, over auditdrain.NoticeType
	mark        func(*known) *mark
	trouble     func(n *Notifier, s auditdrain.Standing, m mark, now time.Time) (trouble bool, since int64)
}

var kinds = [...]kind{
	{auditdrain.NoticeErrored, auditdrain.NoticeRecovered, func(k *known) *mark { return &k.errored }, errored},
	{auditdrain.NoticeDelayed, auditdrain.NoticeCaughtUp, func(k *known) *mark { return &k.delayed }, delayed},
}

func errored(_ *Notifier, s auditdrain.Standing, _ mark, _ time.Time) (bool, int64) {
	return s.Status() == auditdrain.StatusErrored, s.State.FirstErrorAt
}

// delayed is over only at half the age at which it begins: a drain that is
// just slow enough would otherwise begin and end it all the time.
func delayed(n *Notifier, s auditdrain.Standing, m mark, now time.Time) (bool, int64) {
	limit := n.Delay
	if m.Phase == auditdrain.NoticeTelling || m.Phase == auditdrain.NoticeTold {
		limit /= 2
	}
	if n.Delay == 0 || s.Events == 0 || s.Status() == auditdrain.StatusDisabled || s.Age(now) < limit {
		return false, 0
	}
	return true, s.Oldest.Add(n.Delay).UnixMilli()
}

// anything reports whether something is to be told of a drain, or to be
// forgotten.
func (n *Notifier) anything(k known, s auditdrain.Standing, now time.Time) bool {
	for _, kind := range kinds {
		m := *kind.mark(&k)
		trouble, since := kind.trouble(n, s, m, now)
		if next, tell := m.next(trouble, since); tell || next != m {
			return true
		}
	}
	return false
}
