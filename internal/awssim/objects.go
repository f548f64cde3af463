package awssim

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Object is what is known of one object.
type Object struct {
	Bucket, Key string
	Size        int64
	Modified    time.Time
	SHA256      string // of the bytes, in hex
	ETag        string // without quotes

	// These are "" and nil for objects that were written before the Sim was
	// made.
	ContentType     string
	ContentEncoding string
	Metadata        map[string]string // by lower-case name, without x-amz-meta-
	Encryption      string            // AES256, aws:kms or aws:kms:dsse
	KMSKeyARN       string            // "" for the AWS managed key
	ACL             string            // as sent
	Writer          string            // ARN of who wrote it
	checksum        checksum
	passing         map[string]string // further headers that come back as they were sent

	path     string
	fileTime time.Time
}

// Read returns the object's bytes as they are on disk now.
func (o Object) Read() ([]byte, error) {
	body, err := os.ReadFile(o.path)
	if err != nil {
		return nil, fmt.Errorf("read object: %w", err)
	}
	return body, nil
}

// Rewrite tells of an object that was overwritten with other bytes.
type Rewrite struct {
	Bucket, Key   string
	Before, After string // SHA-256, in hex
	At            time.Time
	Writer        string // ARN of who did it
}

// objectStore keeps objects as plain files dir/<bucket>/<key>. The file system
// is the truth; what it cannot say is remembered beside it, and forgotten when
// a file is seen to have changed.
type objectStore struct {
	dir    string
	serial atomic.Uint64
	seed   maphash.Seed
	shards [64]shard

	mu       sync.Mutex
	rewrites []Rewrite
}

// shard orders everything that happens to the keys that fall to it.
type shard struct {
	mu    sync.Mutex
	known map[string]Object // by bucket/key
}

var (
	errNoBucket = errors.New("no such bucket")
	errNotEmpty = errors.New("bucket not empty")
	errNoObject = errors.New("no such object")
	errExists   = errors.New("object exists")
	errNoMatch  = errors.New("object is another")
	errUnfit    = errors.New("key cannot be a file name")
)

// tempDir holds objects while they are written. No bucket can be called that.
const tempDir = ".tmp"

func openObjectStore(dir string) (*objectStore, error) {
	// What a killed process left there was never acknowledged.
	if err := os.RemoveAll(filepath.Join(dir, tempDir)); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, tempDir), 0o755); err != nil {
		return nil, err
	}
	st := &objectStore{dir: dir, seed: maphash.MakeSeed()}
	for i := range st.shards {
		st.shards[i].known = map[string]Object{}
	}
	return st, nil
}

func (st *objectStore) addBucket(name string) error {
	return os.MkdirAll(filepath.Join(st.dir, name), 0o755)
}

// removeBucket removes a bucket's directory, unless an object is in it. What
// is put there afterwards fails with errNoBucket.
func (st *objectStore) removeBucket(name string) error {
	for i := range st.shards {
		st.shards[i].mu.Lock()
		defer st.shards[i].mu.Unlock()
	}
	keys, err := st.list(name)
	switch {
	case err != nil:
		return err
	case len(keys) > 0:
		return errNotEmpty
	}
	return os.RemoveAll(filepath.Join(st.dir, name)) // the folders of objects that were removed
}

// path returns the file of an object. Keys that are no relative path of plain
// names have none.
func (st *objectStore) path(bucket, key string) (string, error) {
	local, err := filepath.Localize(key)
	if err != nil {
		return "", errUnfit
	}
	for part := range strings.SplitSeq(key, "/") {
		if len(part) > 255 {
			return "", errUnfit
		}
	}
	return filepath.Join(st.dir, bucket, local), nil
}

func (st *objectStore) shard(name string) *shard {
	return &st.shards[maphash.String(st.seed, name)%uint64(len(st.shards))]
}

// put writes o's bytes, under a condition that it checks in the same instant.
// It returns o completed.
func (st *objectStore) put(o Object, body []byte, condition precondition) (Object, error) {
	path, err := st.path(o.Bucket, o.Key)
	if err != nil {
		return Object{}, err
	}
	sum := sha256.Sum256(body)
	o.SHA256, o.Size, o.path = hex.EncodeToString(sum[:]), int64(len(body)), path

	temp := filepath.Join(st.dir, tempDir, strconv.FormatUint(st.serial.Add(1), 36))
	if o.fileTime, err = writeTemp(temp, body); err != nil {
		return Object{}, err
	}
	placed := false
	defer func() {
		if !placed {
			os.Remove(temp)
		}
	}()

	name := o.Bucket + "/" + o.Key
	sh := st.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	old, err := sh.lookup(name, path)
	if err != nil && !errors.Is(err, errNoObject) {
		return Object{}, err
	}
	existed := err == nil
	if err := condition.check(old, existed); err != nil {
		return Object{}, err
	}
	err = os.Rename(temp, path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(filepath.Join(st.dir, o.Bucket)); isAbsent(err) {
			return Object{}, errNoBucket // removed since
		}
		if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
			err = os.Rename(temp, path)
		}
	}
	if err != nil {
		return Object{}, unfit(err)
	}
	placed = true
	sh.known[name] = o
	if existed && old.SHA256 != o.SHA256 {
		st.mu.Lock()
		st.rewrites = append(st.rewrites, Rewrite{Bucket: o.Bucket, Key: o.Key, Before: old.SHA256, After: o.SHA256, At: o.Modified, Writer: o.Writer})
		st.mu.Unlock()
	}
	return o, nil
}

func writeTemp(name string, body []byte) (modified time.Time, err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return time.Time{}, err
	}
	_, err = f.Write(body)
	var info fs.FileInfo
	if err == nil {
		info, err = f.Stat()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(name)
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// unfit turns what a file system says of names that are too long, and of "a"
// and "a/b" being both files, into errUnfit.
func unfit(err error) error {
	for _, no := range []syscall.Errno{syscall.ENOTDIR, syscall.EISDIR, syscall.EEXIST, syscall.ENOTEMPTY, syscall.ENAMETOOLONG} {
		if errors.Is(err, no) {
			return errUnfit
		}
	}
	return err
}

// get returns what is known of an object, or errNoObject.
func (st *objectStore) get(bucket, key string) (Object, error) {
	path, err := st.path(bucket, key)
	if err != nil {
		return Object{}, errNoObject
	}
	name := bucket + "/" + key
	sh := st.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	o, err := sh.lookup(name, path)
	if err != nil {
		return Object{}, err
	}
	o.Bucket, o.Key = bucket, key
	return o, nil
}

// lookup compares what is remembered with the file. The caller holds sh.mu.
func (sh *shard) lookup(name, path string) (Object, error) {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		delete(sh.known, name)
		if err == nil || isAbsent(err) {
			return Object{}, errNoObject
		}
		return Object{}, err
	}
	if o, ok := sh.known[name]; ok && o.Size == info.Size() && o.fileTime.Equal(info.ModTime()) {
		return o, nil
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return Object{}, err
	}
	sum := sha256.Sum256(body)
	o := Object{
		Size:     int64(len(body)),
		Modified: info.ModTime(),
		SHA256:   hex.EncodeToString(sum[:]),
		ETag:     md5Hex(body),
		path:     path,
		fileTime: info.ModTime(),
	}
	sh.known[name] = o
	return o, nil
}

func (st *objectStore) remove(bucket, key string) error {
	path, err := st.path(bucket, key)
	if err != nil {
		return nil // there is no such object, which is fine
	}
	name := bucket + "/" + key
	sh := st.shard(name)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if _, err := sh.lookup(name, path); errors.Is(err, errNoObject) {
		return nil
	}
	if err := os.Remove(path); err != nil && !isAbsent(err) {
		return err
	}
	delete(sh.known, name)
	return nil
}

// list returns a bucket's keys in order.
func (st *objectStore) list(bucket string) ([]string, error) {
	root := filepath.Join(st.dir, bucket)
	var keys []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if isAbsent(err) {
				return nil
			}
			return err
		}
		if d.Type().IsRegular() {
			keys = append(keys, filepath.ToSlash(path[len(root)+1:]))
		}
		return nil
	})
	// WalkDir goes by folder: "a/b" comes before "a-b" there.
	slices.Sort(keys)
	return keys, err
}

// isAbsent also knows the case that a folder of the path is a file.
func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

func md5Hex(body []byte) string {
	sum := md5.Sum(body)
	return hex.EncodeToString(sum[:])
}

// Object returns what is known of one object, and whether it exists.
func (s *Sim) Object(bucket, key string) (Object, bool, error) {
	o, err := s.objects.get(bucket, key)
	if errors.Is(err, errNoObject) {
		return Object{}, false, nil
	}
	if err != nil {
		return Object{}, false, fmt.Errorf("awssim: %w", err)
	}
	return o, true, nil
}

// Objects returns all objects of a bucket, in the order of their keys. It
// reads the directory: objects that appear meanwhile may be missing.
func (s *Sim) Objects(bucket string) ([]Object, error) {
	keys, err := s.objects.list(bucket)
	if err != nil {
		return nil, fmt.Errorf("awssim: list objects: %w", err)
	}
	out := make([]Object, 0, len(keys))
	for _, key := range keys {
		o, err := s.objects.get(bucket, key)
		if errors.Is(err, errNoObject) {
			continue // removed since
		}
		if err != nil {
			return nil, fmt.Errorf("awssim: list objects: %w", err)
		}
		out = append(out, o)
	}
	return out, nil
}

// Rewrites tells which objects were overwritten with other bytes since the Sim
// was made, in the order in which it happened.
func (s *Sim) Rewrites() []Rewrite {
	s.objects.mu.Lock()
	defer s.objects.mu.Unlock()
	return slices.Clone(s.objects.rewrites)
}
