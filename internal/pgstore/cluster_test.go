package pgstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// TestMain runs the tests with a PostgreSQL of their own, which syncs as in
// production. Without PostgreSQL they fail: test/setup.sh installs it.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		c, err := startCluster()
		if err != nil {
			fmt.Fprintln(os.Stderr, "start PostgreSQL:", err)
			return 1
		}
		defer c.stop()
		theCluster = c
		return m.Run()
	}())
}

// theCluster is what TestMain has started.
var theCluster *cluster

// cluster is a PostgreSQL server in a folder that is deleted in the end.
type cluster struct {
	dir     string
	port    int
	server  *exec.Cmd
	log     bytes.Buffer
	schemas atomic.Int64
}

func startCluster() (c *cluster, err error) {
	bin, err := serverPrograms()
	if err != nil {
		return nil, err
	}
	c = &cluster{}
	if c.dir, err = os.MkdirTemp("", "auditdrain-postgres-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.stop()
		}
	}()
	who, err := serverUser(c.dir)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(c.dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "auditdrain", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = who, c.dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if c.port, err = freePort(); err != nil {
		return nil, err
	}
	c.server = exec.Command(filepath.Join(bin, "postgres"), "-D", data,
		"-c", "listen_addresses=127.0.0.1", "-c", "port="+strconv.Itoa(c.port), "-c", "unix_socket_directories=",
		"-c", "max_connections=300", "-c", "shared_buffers=128MB")
	c.server.SysProcAttr, c.server.Dir = who, c.dir
	c.server.SysProcAttr.Pdeathsig = syscall.SIGKILL
	c.server.Stdout, c.server.Stderr = &c.log, &c.log
	if err := c.server.Start(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, c.url(""))
		if err == nil {
			return c, conn.Close(ctx)
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w\n%s", err, &c.log)
		}
	}
}

// serverPrograms finds the folder with initdb and postgres, where Debian has it
// or in PATH.
func serverPrograms() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		slices.Sort(found)
		return found[len(found)-1], nil
	}
	initdb, err := exec.LookPath("initdb")
	if err != nil {
		return "", errors.New("it is not installed: run test/setup.sh")
	}
	return filepath.Dir(initdb), nil
}

// serverUser has the server run as postgres if we are root, as it insists.
func serverUser(dir string) (*syscall.SysProcAttr, error) {
	if os.Getuid() != 0 {
		return &syscall.SysProcAttr{}, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return nil, err
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, os.Chown(dir, uid, gid)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// stop ends the server and deletes all that it has stored.
func (c *cluster) stop() {
	if c.server != nil && c.server.Process != nil {
		_ = c.server.Process.Signal(syscall.SIGQUIT) // at once, without saving
		_ = c.server.Wait()
	}
	_ = os.RemoveAll(c.dir)
}

func (c *cluster) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port)) }

// url is that of a schema.
func (c *cluster) url(schema string) string { return urlAt(c.address(), schema) }

func urlAt(address, schema string) string {
	q := url.Values{"sslmode": {"disable"}}
	if schema != "" {
		q.Set("search_path", schema)
	}
	return (&url.URL{Scheme: "postgres", User: url.User("auditdrain"), Host: address, Path: "postgres", RawQuery: q.Encode()}).String()
}

// newSchema makes an empty place for tables, for as long as the test runs.
func newSchema(t testing.TB) string {
	t.Helper()
	schema := fmt.Sprint("test", theCluster.schemas.Add(1))
	admin := func(sql string) {
		conn, err := pgx.Connect(context.Background(), theCluster.url(""))
		if err != nil {
			t.Fatal(err)
		}
		defer closeConn(conn)
		if _, err := conn.Exec(context.Background(), sql); err != nil {
			t.Fatal(err)
		}
	}
	admin("CREATE SCHEMA " + schema)
	t.Cleanup(func() { admin("DROP SCHEMA " + schema + " CASCADE") })
	return schema
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
