package wire

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/net/proxy"
)

// maxTLSSessions is how many hosts' sessions are kept for resumption.
const maxTLSSessions = 10_000

// tlsConfig returns cfg, which may be nil, for HTTP/1.1 with sessions that are
// resumed.
func tlsConfig(cfg *tls.Config) *tls.Config {
	if cfg == nil {
		cfg = &tls.Config{}
	}
	cfg = cfg.Clone()
	cfg.NextProtos = []string{"http/1.1"}
	if cfg.ClientSessionCache == nil {
		cfg.ClientSessionCache = tls.NewLRUClientSessionCache(maxTLSSessions)
	}
	return cfg
}

// dial connects to h, through a proxy if h has one, until deadline.
func (c *Client) dial(ctx context.Context, h Host, deadline time.Time) (*conn, error) {
	limited, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	res, err := c.dialUntil(limited, h)
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return res, err
}

func (c *Client) dialUntil(ctx context.Context, h Host) (*conn, error) {
	via, err := c.proxyOf(h)
	if err != nil {
		return nil, fmt.Errorf("find the proxy: %w", err)
	}
	addr := h.addr
	if via != nil {
		if addr, err = proxyAddr(via); err != nil {
			return nil, err
		}
	}
	dialed, err := c.dialTCP(ctx, "tcp", addr)
	if err != nil {
		if via != nil {
			err = &net.OpError{Op: "proxyconnect", Net: "tcp", Err: err}
		}
		return nil, err
	}
	raw := newSocket(dialed)
	// The handshakes that follow end with ctx.
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(past) })
	res, err := c.shakeHands(ctx, raw, h, via)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	return res, nil
}

func (c *Client) dialTCP(ctx context.Context, network, addr string) (net.Conn, error) {
	if c.transport.DialContext != nil {
		return c.transport.DialContext(ctx, network, addr)
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

// proxyOf returns the proxy to reach h through, nil for none.
func (c *Client) proxyOf(h Host) (*url.URL, error) {
	if c.transport.Proxy == nil {
		return nil, nil
	}
	return c.transport.Proxy(&http.Request{Method: http.MethodPut, URL: h.url(), Host: h.name, Header: http.Header{}})
}

func (h Host) url() *url.URL {
	u := &url.URL{Scheme: "http", Host: h.name}
	if h.tls {
		u.Scheme = "https"
	}
	return u
}

// proxyAddr returns where a proxy listens.
func proxyAddr(u *url.URL) (string, error) {
	port, known := map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	if !known {
		return "", fmt.Errorf("proxy %s: %q is not a kind of proxy that is known here: use http, https or socks5", u.Redacted(), u.Scheme)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}

// shakeHands makes of a connection to h, or to the proxy via, one over which
// requests to h can be sent.
func (c *Client) shakeHands(ctx context.Context, raw socket, h Host, via *url.URL) (*conn, error) {
	var layered net.Conn = raw.Conn
	var target, header string
	var err error
	if via != nil {
		if via.Scheme == "https" {
			if layered, err = c.startTLS(ctx, layered, via.Hostname()); err != nil {
				return nil, &net.OpError{Op: "proxyconnect", Net: "tcp", Err: err}
			}
		}
		switch auth := basicAuth(via); {
		case via.Scheme == "socks5", via.Scheme == "socks5h":
			err = connectSOCKS(ctx, layered, h, via)
		case h.tls:
			err = c.connectHTTP(ctx, layered, h, via, auth)
		default: // the proxy reads the requests
			target = "http://" + h.name
			if auth != "" {
				header = "Proxy-Authorization: " + auth + "\r\n"
			}
		}
		if isTimeout(err) {
			err = timedOutProxy
		}
		if err != nil {
			return nil, err
		}
	}
	if h.tls {
		if layered, err = c.startTLS(ctx, layered, h.url().Hostname()); err != nil {
			return nil, err
		}
	}
	res := newConn(raw, layered, h)
	res.target, res.header = target, header
	return res, nil
}

// startTLS begins TLS with a server of that name.
func (c *Client) startTLS(ctx context.Context, below net.Conn, name string) (net.Conn, error) {
	cfg := c.tls
	if cfg.ServerName == "" {
		cfg = cfg.Clone()
		cfg.ServerName = name
	}
	limited, cancel := context.WithTimeout(ctx, c.options.TLSTimeout)
	defer cancel()
	conn := tls.Client(below, cfg)
	if err := conn.HandshakeContext(limited); err != nil {
		if limited.Err() != nil && ctx.Err() == nil {
			return nil, timedOutTLS
		}
		return nil, err
	}
	return conn, nil
}

// basicAuth is what a proxy is told of who we are, "" if its URL does not say.
func basicAuth(via *url.URL) string {
	if via.User == nil {
		return ""
	}
	password, _ := via.User.Password()
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(via.User.Username()+":"+password))
}

// connectHTTP asks a proxy to connect to h.
func (c *Client) connectHTTP(ctx context.Context, conn net.Conn, h Host, via *url.URL, auth string) error {
	header := c.transport.ProxyConnectHeader
	if c.transport.GetProxyConnectHeader != nil {
		var err error
		if header, err = c.transport.GetProxyConnectHeader(ctx, via, h.addr); err != nil {
			return err
		}
	}
	header = header.Clone()
	if header == nil {
		header = http.Header{}
	}
	if auth != "" {
		header.Set("Proxy-Authorization", auth)
	}
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: h.addr}, Host: h.addr, Header: header}
	err := req.Write(conn)
	if err == nil {
		var resp *http.Response
		// Nothing that is read ahead is lost: TLS servers do not speak first.
		resp, err = http.ReadResponse(bufio.NewReader(io.LimitReader(conn, maxHead)), req)
		if err == nil && resp.StatusCode != http.StatusOK {
			return errors.New("the proxy refuses to connect to " + h.addr + ": " + resp.Status)
		}
	}
	return err
}

// connectSOCKS asks a SOCKS5 proxy to connect to h.
func connectSOCKS(ctx context.Context, conn net.Conn, h Host, via *url.URL) error {
	var auth *proxy.Auth
	if via.User != nil {
		auth = &proxy.Auth{User: via.User.Username()}
		auth.Password, _ = via.User.Password()
	}
	dialer, err := proxy.SOCKS5("tcp", via.Host, auth, connected{conn})
	if err != nil {
		return err
	}
	_, err = dialer.(proxy.ContextDialer).DialContext(ctx, "tcp", h.addr)
	return err
}

// connected is a dialer whose connection is there already.
type connected struct{ net.Conn }

func (c connected) Dial(string, string) (net.Conn, error) { return c.Conn, nil }
