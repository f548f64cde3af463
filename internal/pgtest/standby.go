package pgtest

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// Standby starts a server that has all that s has, and has s confirm no commit
// before the standby has it on its disk, too.
func (s *Server) Standby(ctx context.Context) (*Server, error) {
	standby := &Server{}
	err := standby.startFrom(func(bin, data string) *exec.Cmd {
		return exec.CommandContext(ctx, filepath.Join(bin, "pg_basebackup"), "-D", data,
			"-h", "127.0.0.1", "-p", strconv.Itoa(s.port), "-U", "auditdrain", "--write-recovery-conf", "--checkpoint=fast", "--no-sync")
	})
	if err == nil {
		err = standby.wait()
	}
	if err == nil {
		err = s.waitForStandby(ctx)
	}
	if err != nil {
		standby.Stop()
		return nil, fmt.Errorf("start a standby: %w\n%s", err, &standby.log)
	}
	return standby, nil
}

// waitForStandby is not done before the copy is made: the standby would have the
// setting from it, and wait for one of its own.
func (s *Server) waitForStandby(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.URL(""))
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	for _, sql := range []string{`ALTER SYSTEM SET synchronous_standby_names = '*'`, `SELECT pg_reload_conf()`} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	for synced := 0; synced == 0; {
		if err := conn.QueryRow(ctx, `SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'`).Scan(&synced); err != nil {
			return err
		}
	}
	return nil
}

// Promote has a standby take writes.
func (s *Server) Promote(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL(""))
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	var promoted bool
	if err := conn.QueryRow(ctx, `SELECT pg_promote(true, 60)`).Scan(&promoted); err != nil {
		return err
	}
	if !promoted {
		return fmt.Errorf("it has not been promoted\n%s", &s.log)
	}
	return nil
}
