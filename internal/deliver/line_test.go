package deliver

import (
	"slices"
	"testing"

	"github.com/auditdrain/auditdrain"
)

func TestLine(t *testing.T) {
	var started []string
	l := line{places: 2, start: func(d *drain) { started = append(started, d.config.ID) }}
	drains := make([]*drain, 40)
	for i := range drains {
		drains[i] = &drain{config: auditdrain.Drain{ID: string(rune('A' + i))}}
		l.join(drains[i])
	}
	if want := []string{"A", "B"}; !slices.Equal(started, want) {
		t.Errorf("started %v, want %v: there are two places", started, want)
	}
	l.giveBack()
	if want := []string{"A", "B", "C"}; !slices.Equal(started, want) {
		t.Errorf("started %v, want %v: the third waited first", started, want)
	}
	for i := 3; i < len(drains); i++ {
		if d := l.next(); d != drains[i] {
			t.Fatalf("next is %v, want %s: each in its turn", d, drains[i].config.ID)
		}
	}
	if l.crowded() || l.inUse() != 2 {
		t.Errorf("nobody waits, and the line is crowded: %t, %d places taken, want 2", l.crowded(), l.inUse())
	}
	l.giveBack()
	if d := l.next(); d != nil || l.inUse() != 0 {
		t.Errorf("next of an empty line is %v with %d places taken, want none", d, l.inUse())
	}
}
