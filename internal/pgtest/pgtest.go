// Package pgtest runs PostgreSQL for tests and the benchmark: a server of their
// own on loopback, in a folder that is deleted in the end. It syncs as in
// production. Tests fail where PostgreSQL is not installed; test/setup.sh does
// that.
package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// Server is a PostgreSQL server with an empty database.
type Server struct {
	settings []string
	dir      string
	port     int
	server   *exec.Cmd
	log      bytes.Buffer
	schemas  atomic.Int64
}

// Start starts a server. TestMain does, for all tests of a package, and stops it.
// Each setting is one of postgresql.conf's, "name=value".
func Start(settings ...string) (*Server, error) {
	s := &Server{settings: settings}
	err := s.start()
	if err == nil {
		err = s.wait()
	}
	if err != nil {
		s.Stop()
		return nil, fmt.Errorf("%w\n%s", err, &s.log)
	}
	return s, nil
}

func (s *Server) start() error {
	return s.startFrom(func(bin, data string) *exec.Cmd {
		return exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "auditdrain", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
	})
}

// startFrom starts the server on the data that a command makes.
func (s *Server) startFrom(making func(bin, data string) *exec.Cmd) error {
	bin, err := serverPrograms()
	if err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp(publicFolder(), "auditdrain-postgres-"); err != nil {
		return err
	}
	who, err := serverUser(s.dir)
	if err != nil {
		return err
	}
	data := filepath.Join(s.dir, "data")
	cmd := making(bin, data)
	cmd.SysProcAttr, cmd.Dir = who, s.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, out)
	}
	if s.port, err = freePort(); err != nil {
		return err
	}
	return s.run()
}

// run starts the server on the data that is there.
func (s *Server) run() error {
	bin, err := serverPrograms()
	if err != nil {
		return err
	}
	who, err := serverUser(s.dir)
	if err != nil {
		return err
	}
	args := []string{"-D", filepath.Join(s.dir, "data")}
	for _, setting := range append([]string{
		"listen_addresses=127.0.0.1", "port=" + strconv.Itoa(s.port), "unix_socket_directories=",
		"max_connections=300", "shared_buffers=128MB",
	}, s.settings...) {
		args = append(args, "-c", setting)
	}
	server := exec.Command(filepath.Join(bin, "postgres"), args...)
	server.SysProcAttr, server.Dir = who, s.dir
	server.SysProcAttr.Pdeathsig = syscall.SIGKILL
	server.Stdout, server.Stderr = &s.log, &s.log
	if err := server.Start(); err != nil {
		return err
	}
	s.server = server
	return nil
}

// Restart ends the server as a crash does, and starts it again at its address.
func (s *Server) Restart() error {
	_ = s.server.Process.Signal(syscall.SIGQUIT)
	_ = s.server.Wait()
	if err := s.run(); err != nil {
		return err
	}
	return s.wait()
}

// wait waits until the server takes connections.
func (s *Server) wait() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.URL(""))
		if err == nil {
			return conn.Close(ctx)
		}
		if ctx.Err() != nil {
			return err
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

// publicFolder is a folder for temporary files that others can enter, too: who
// runs the tests as root may have one that nobody else can.
func publicFolder() string {
	for _, dir := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		if enterable(dir) {
			return dir
		}
	}
	return os.TempDir()
}

func enterable(dir string) bool {
	dir, err := filepath.Abs(dir)
	for ; err == nil; dir = filepath.Dir(dir) {
		info, statErr := os.Stat(dir)
		if statErr != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
	return false
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Stop ends the server and deletes all that it has stored.
func (s *Server) Stop() {
	if s.server != nil {
		_ = s.server.Process.Signal(syscall.SIGQUIT) // at once, without saving
		_ = s.server.Wait()
	}
	_ = os.RemoveAll(s.dir)
}

// PID is that of the server's first process, the parent of all others.
func (s *Server) PID() int { return s.server.Process.Pid }

// Address is host:port, for a proxy.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL is that of a schema, or of the database if it is empty.
func (s *Server) URL(schema string) string { return URLAt(s.Address(), schema) }

// URLAt is URL for who reaches the server at another address.
func URLAt(address, schema string) string {
	q := url.Values{"sslmode": {"disable"}}
	if schema != "" {
		q.Set("search_path", schema)
	}
	return (&url.URL{Scheme: "postgres", User: url.User("auditdrain"), Host: address, Path: "postgres", RawQuery: q.Encode()}).String()
}

// NewSchema makes an empty place for tables, for as long as the test runs, and
// returns its name.
func (s *Server) NewSchema(t testing.TB) string {
	t.Helper()
	schema := fmt.Sprint("test", s.schemas.Add(1))
	admin := func(sql string) {
		conn, err := pgx.Connect(context.Background(), s.URL(""))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.Background())
		if _, err := conn.Exec(context.Background(), sql); err != nil {
			t.Fatal(err)
		}
	}
	admin("CREATE SCHEMA " + schema)
	t.Cleanup(func() { admin("DROP SCHEMA " + schema + " CASCADE") })
	return schema
}
