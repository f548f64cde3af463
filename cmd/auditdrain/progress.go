package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/auditdrain/auditdrain"
)

// progress is one line on a terminal that is drawn over and over. The nil
// *progress shows nothing.
type progress struct {
	terminal *os.File
	size     int64 // of the input, 0 if not known
	started  time.Time
	drawn    time.Time
}

func newProgress(terminal *os.File, size int64) *progress {
	return &progress{terminal: terminal, size: size, started: time.Now()}
}

// show draws the line, at most ten times a second.
func (p *progress) show(done int64, sent auditdrain.EventsResult) {
	if p.due() {
		p.draw(progressText(done, p.size, sent, time.Since(p.started)))
	}
}

// due reports whether the line is to be drawn anew.
func (p *progress) due() bool { return p != nil && time.Since(p.drawn) >= 100*time.Millisecond }

// draw has text in the line.
func (p *progress) draw(text string) {
	p.drawn = time.Now()
	width, _, err := term.GetSize(int(p.terminal.Fd()))
	if err != nil || width <= 0 {
		width = 80
	}
	fmt.Fprint(p.terminal, "\r"+cut(text, width-1)+"\x1b[K")
}

// clear takes the line away, for what is printed next.
func (p *progress) clear() {
	if p != nil && !p.drawn.IsZero() {
		fmt.Fprint(p.terminal, "\r\x1b[K")
	}
}

func progressText(done, size int64, sent auditdrain.EventsResult, took time.Duration) string {
	events := sent.Accepted + sent.Duplicates
	text := fmt.Sprintf("%d events", events)
	if sent.Duplicates > 0 {
		text += fmt.Sprintf(" (%d duplicates)", sent.Duplicates)
	}
	if s := took.Seconds(); s > 0 {
		text += fmt.Sprintf(", %.0f/s", float64(events)/s)
	}
	if size <= 0 {
		return text
	}
	return bar(float64(done)/float64(size)) + "  " + text
}

// bar shows which part of something is done.
func bar(part float64) string {
	const width = 24
	part = min(part, 1)
	full := int(part * width)
	return fmt.Sprintf("[%s%s] %3.0f%%", strings.Repeat("#", full), strings.Repeat(" ", width-full), part*100)
}

// verified draws how many objects have been verified. It is safe for concurrent use.
func (p *progress) verified() func(done, all uint64) {
	var mu sync.Mutex
	return func(done, all uint64) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(p.drawn) < 100*time.Millisecond {
			return
		}
		text := fmt.Sprintf("%d objects", done)
		if s := time.Since(p.started).Seconds(); s > 0 {
			text += fmt.Sprintf(", %.0f/s", float64(done)/s)
		}
		p.draw(bar(float64(done)/float64(max(all, 1))) + "  " + text)
	}
}
