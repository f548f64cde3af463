package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Dir is a folder with a copy of what is below an endpoint's prefix.
type Dir struct {
	// Path is the folder.
	Path string
	// TrustTimes takes the files' times for S3's, as "aws s3 sync" copies them.
	// Without it they mean nothing, since whoever adds a file can set its time.
	TrustTimes bool
}

func (d Dir) String() string { return d.Path }

// List implements Place.
func (d Dir) List(ctx context.Context, prefix string, found func(Entry) error) error {
	// The prefixes that we list are folders.
	root := filepath.Join(d.Path, filepath.FromSlash(prefix))
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			if path == root && isAbsent(err) {
				return fs.SkipAll
			}
			return err
		}
		if e.IsDir() {
			return ctx.Err()
		}
		entry := Entry{Key: prefix + filepath.ToSlash(path[len(root)+1:])}
		if d.TrustTimes {
			info, err := e.Info()
			if err != nil {
				return err
			}
			entry.Written = info.ModTime()
		}
		return found(entry)
	})
}

// Get implements Place.
func (d Dir) Get(_ context.Context, key string, most int, buf []byte) ([]byte, error) {
	local, err := filepath.Localize(key)
	if err != nil {
		return nil, fmt.Errorf("%q cannot be a file: %w", key, fs.ErrNotExist)
	}
	f, err := os.Open(filepath.Join(d.Path, local))
	if errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENAMETOOLONG) {
		return nil, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content := bytes.NewBuffer(buf[:0])
	_, err = content.ReadFrom(io.LimitReader(f, int64(most)+1))
	if errors.Is(err, syscall.EISDIR) {
		return nil, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return content.Bytes(), err
}

var _ Place = Dir{}

// clockSlack is how far a place's clock may be from the service's: S3 refuses
// requests that are further off.
const clockSlack = 15 * time.Minute
