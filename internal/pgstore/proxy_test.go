package pgstore

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/auditdrain/auditdrain/internal/storetest"
)

// proxy stands between a store and the database, and reads along: it can break
// the connection right before or right after a commit.
type proxy struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup
	turns    atomic.Int64 // times that the server was ready for more: round trips

	mu      sync.Mutex
	links   map[*link]bool
	fault   storetest.Fault
	left    int  // commits until the fault
	tripped bool // it has come
	down    bool // connections are not let through
}

// link is one connection through the proxy.
type link struct {
	proxy          *proxy
	client, server net.Conn

	// What the client has sent so far.
	writes  map[string]bool // by name of the prepared statement
	inTx    bool
	written bool // since the last commit

	mu      sync.Mutex
	swallow bool // the answer to what was sent last
}

func newProxy(t testing.TB, target string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: target, links: map[*link]bool{}}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.cut(true)
		p.running.Wait()
	})
	return p
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		l := &link{proxy: p, client: client, server: server, writes: map[string]bool{}}
		p.mu.Lock()
		if p.down {
			l.close()
		} else {
			p.links[l] = true
			p.running.Go(l.forward)
			p.running.Go(l.back)
		}
		p.mu.Unlock()
	}
}

func (l *link) close() {
	_ = l.client.Close()
	_ = l.server.Close()
}

// cut breaks all connections, and lets no new ones through if down is set.
func (p *proxy) cut(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
	for l := range p.links {
		l.close()
	}
	clear(p.links)
}

// arm has the nth commit from now on go wrong.
func (p *proxy) arm(fault storetest.Fault, nth int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.left, p.tripped = fault, nth, false
}

// commit counts a commit, and returns what is to become of it.
func (p *proxy) commit() storetest.Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault == "" || p.tripped {
		return ""
	}
	if p.left--; p.left > 0 {
		return ""
	}
	p.tripped = true
	return p.fault
}

// forward passes on what the client sends.
func (l *link) forward() {
	defer l.close()
	startup := true
	for {
		message, err := readMessage(l.client, startup)
		if err != nil {
			return
		}
		if !startup && l.commits(message[0], message[5:]) {
			switch l.proxy.commit() {
			case storetest.Fails:
				l.proxy.cut(true)
				return
			case storetest.Misreports, storetest.Kills:
				l.mu.Lock()
				l.swallow = true
				l.mu.Unlock()
			}
		}
		startup = false
		if _, err := l.server.Write(message); err != nil {
			return
		}
	}
}

// back passes on what the server answers.
func (l *link) back() {
	defer l.close()
	for {
		message, err := readMessage(l.server, false)
		if err != nil {
			return
		}
		if message[0] == 'Z' {
			l.proxy.turns.Add(1)
		}
		l.mu.Lock()
		swallow := l.swallow
		l.mu.Unlock()
		if swallow {
			if message[0] == 'Z' { // ready: the commit has taken place
				l.proxy.cut(true)
				return
			}
			continue
		}
		if _, err := l.client.Write(message); err != nil {
			return
		}
	}
}

// readMessage reads one message: a byte that says which, the length, the rest.
// The first message of a client has no such byte.
func readMessage(r io.Reader, startup bool) ([]byte, error) {
	head := make([]byte, 5)
	if startup {
		head = head[:4]
	}
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(head[len(head)-4:])) - 4
	message := append(head, make([]byte, n)...)
	_, err := io.ReadFull(r, message[len(head):])
	return message, err
}

var writing = regexp.MustCompile(`\b(INSERT|UPDATE|DELETE|CREATE|ALTER|DROP)\b`)

func isWrite(sql string) bool {
	return writing.MatchString(strings.ReplaceAll(sql, "FOR UPDATE", ""))
}

// commits notes a message of the client's, and reports whether it has the
// database commit something.
func (l *link) commits(kind byte, body []byte) bool {
	first, rest, _ := bytes.Cut(body, []byte{0})
	second, _, _ := bytes.Cut(rest, []byte{0})
	switch kind {
	case 'P': // parse: name, SQL
		l.writes[string(first)] = isWrite(string(second))
	case 'B': // bind: portal, name
		l.written = l.written || l.writes[string(second)]
	case 'S': // sync
		return !l.inTx && l.take()
	case 'Q': // SQL
		switch sql := string(first); sql {
		case "begin":
			l.inTx = true
		case "commit":
			l.inTx = false
			return l.take()
		case "rollback":
			l.inTx = false
			l.take()
		default:
			l.written = l.written || isWrite(sql)
			return !l.inTx && l.take()
		}
	}
	return false
}

// take returns whether something was written, once.
func (l *link) take() bool {
	written := l.written
	l.written = false
	return written
}
