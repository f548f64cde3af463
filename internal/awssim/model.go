package awssim

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/auditdrain/auditdrain/internal/iam"
)

// Account is what applies to all of an AWS account. Accounts that were never
// added exist with nothing set.
type Account struct {
	ID string // 12 digits
	// Organization is the ID of the organization it is in ("o-…"), or "". AWS
	// says why it denied something only to callers of the same account or
	// organization.
	Organization string
	SCP, RCP     []*iam.Policy
	// DisabledSTS lists regions where the account has deactivated STS.
	DisabledSTS []string
	// OptedIn lists the opt-in regions that the account has enabled.
	OptedIn []string
}

// User is an IAM user with one access key.
type User struct {
	ARN                    string // arn:aws:iam::111122223333:user/name
	AccessKeyID, SecretKey string
	Identity               []*iam.Policy
	Boundary               *iam.Policy
}

// Role is an IAM role.
type Role struct {
	ARN      string // arn:aws:iam::111122223333:role/path/name
	Trust    *iam.Policy
	Identity []*iam.Policy
	Boundary *iam.Policy
	// MaxSession is the longest session that may be asked for, an hour if 0.
	MaxSession time.Duration
}

// KeyState is the state of a KMS key. The zero KeyState is KeyEnabled.
type KeyState string

// The states of a key that AWS answers differently.
const (
	KeyEnabled         KeyState = ""
	KeyDisabled        KeyState = "Disabled"
	KeyPendingDeletion KeyState = "PendingDeletion"
)

// Key is a customer managed KMS key.
type Key struct {
	ARN    string // arn:aws:kms:us-east-1:111122223333:key/…
	Policy *iam.Policy
	State  KeyState
	// Private makes it an Ed25519 key for signing; without it, it is a symmetric
	// key for encryption.
	Private ed25519.PrivateKey
}

// Encryption is a bucket's default encryption. The zero Encryption is SSE-S3.
type Encryption struct {
	Algorithm string // AES256, aws:kms or aws:kms:dsse
	// KMSKeyARN is the customer managed key. Without one, aws:kms means the
	// AWS managed key aws/s3, which takes no permission of the caller.
	KMSKeyARN string
}

// Ownership is a bucket's Object Ownership setting. The zero Ownership is
// BucketOwnerEnforced, under which ACLs are disabled.
type Ownership string

// The settings of Object Ownership.
const (
	BucketOwnerEnforced  Ownership = ""
	BucketOwnerPreferred Ownership = "BucketOwnerPreferred"
	ObjectWriter         Ownership = "ObjectWriter"
)

// Bucket is an S3 bucket.
type Bucket struct {
	Name       string
	Account    string // the owner's ID
	Region     string // us-east-1 if ""
	Policy     *iam.Policy
	Encryption Encryption
	Ownership  Ownership
	// ObjectLock says that the bucket locks new objects by default, so that a
	// PutObject must carry a digest.
	ObjectLock bool
}

var (
	accountRE = regexp.MustCompile(`^\d{12}$`)
	iamARNRE  = regexp.MustCompile(`^arn:aws[a-z0-9-]*:iam::\d{12}:(user|role)/([\x21-\x7E]+/)?[A-Za-z0-9+=,.@_-]{1,64}$`)
	kmsARNRE  = regexp.MustCompile(`^arn:aws[a-z0-9-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+$`)
	regionRE  = regexp.MustCompile(`^[a-z]{2,5}(-[a-z]+)+-\d+$`)
	bucketRE  = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
)

// AddAccount adds or replaces an account.
func (s *Sim) AddAccount(a Account) error {
	if !accountRE.MatchString(a.ID) {
		return fmt.Errorf("awssim: account %q is not 12 digits", a.ID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts[a.ID] = a
	return nil
}

// AddUser adds or replaces the user with u's access key.
func (s *Sim) AddUser(u User) error {
	if !iamARNRE.MatchString(u.ARN) || resourceType(u.ARN) != "user" {
		return fmt.Errorf("awssim: %q is not a user's ARN", u.ARN)
	}
	if u.AccessKeyID == "" || u.SecretKey == "" {
		return fmt.Errorf("awssim: user %s has no access key", u.ARN)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[u.AccessKeyID] = u
	return nil
}

// AddRole adds or replaces a role.
func (s *Sim) AddRole(r Role) error {
	if !iamARNRE.MatchString(r.ARN) || resourceType(r.ARN) != "role" {
		return fmt.Errorf("awssim: %q is not a role's ARN", r.ARN)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roles[r.ARN] = r
	return nil
}

// AddKey adds or replaces a KMS key.
func (s *Sim) AddKey(k Key) error {
	if !kmsARNRE.MatchString(k.ARN) {
		return fmt.Errorf("awssim: %q is not a KMS key's ARN", k.ARN)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[k.ARN] = k
	return nil
}

// AddBucket adds or replaces a bucket, and creates its directory. Objects that
// are in the directory already are in the bucket.
func (s *Sim) AddBucket(b Bucket) error {
	if b.Region == "" {
		b.Region = "us-east-1"
	}
	if !bucketRE.MatchString(b.Name) || strings.Contains(b.Name, "..") {
		return fmt.Errorf("awssim: %q is not a bucket name", b.Name)
	}
	if !accountRE.MatchString(b.Account) {
		return fmt.Errorf("awssim: bucket %s: account %q is not 12 digits", b.Name, b.Account)
	}
	if !regionRE.MatchString(b.Region) {
		return fmt.Errorf("awssim: bucket %s: %q is not a region", b.Name, b.Region)
	}
	switch e := b.Encryption; {
	case !slices.Contains([]string{"", "AES256", "aws:kms", "aws:kms:dsse"}, e.Algorithm):
		return fmt.Errorf("awssim: bucket %s: %q is not an encryption algorithm", b.Name, e.Algorithm)
	case e.KMSKeyARN != "" && (!kmsARNRE.MatchString(e.KMSKeyARN) || !strings.HasPrefix(e.Algorithm, "aws:kms")):
		return fmt.Errorf("awssim: bucket %s: %q with key %q is not an encryption", b.Name, e.Algorithm, e.KMSKeyARN)
	}
	if err := s.objects.addBucket(b.Name); err != nil {
		return fmt.Errorf("awssim: bucket %s: %w", b.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets[b.Name] = b
	return nil
}

// UpdateAccount changes an account, which need not have been added. The change
// must replace slices and policies, not write into them; the same holds for
// UpdateRole, UpdateKey and UpdateBucket.
func (s *Sim) UpdateAccount(id string, change func(*Account)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[id]
	a.ID = id
	change(&a)
	s.accounts[id] = a
}

// UpdateRole changes a role, and reports whether there is one. Sessions of it
// are decided by its new policies at once.
func (s *Sim) UpdateRole(arn string, change func(*Role)) bool { return update(s, s.roles, arn, change) }

// RemoveRole deletes a role. Its sessions can do nothing any more.
func (s *Sim) RemoveRole(arn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.roles, arn)
}

// UpdateKey changes a KMS key, and reports whether there is one.
func (s *Sim) UpdateKey(arn string, change func(*Key)) bool { return update(s, s.keys, arn, change) }

// RemoveKey deletes a KMS key.
func (s *Sim) RemoveKey(arn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, arn)
}

// UpdateBucket changes a bucket, and reports whether there is one.
func (s *Sim) UpdateBucket(name string, change func(*Bucket)) bool {
	return update(s, s.buckets, name, change)
}

// RemoveBucket makes a bucket unknown. Its objects stay as files, and are back
// when it is added again.
func (s *Sim) RemoveBucket(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.buckets, name)
}

func update[T any](s *Sim, m map[string]T, id string, change func(*T)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := m[id]
	if ok {
		change(&v)
		m[id] = v
	}
	return ok
}

func (s *Sim) account(id string) Account {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a := s.accounts[id]
	a.ID = id
	return a
}

func (s *Sim) bucket(name string) (Bucket, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, ok := s.buckets[name]
	return b, ok
}

func (s *Sim) role(arn string) (Role, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, ok := s.roles[arn]
	return r, ok
}

func (s *Sim) key(arn string) (Key, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	k, ok := s.keys[arn]
	return k, ok
}

// session is what an access key of temporary credentials stands for.
type session struct {
	Credentials
	roleARN string
	name    string
	policy  *iam.Policy // nil: none was passed
	issued  time.Time
	global  bool // from the global endpoint: not valid in opt-in regions
}

// Credentials are the temporary credentials of a role session.
type Credentials struct {
	AccessKeyID, SecretKey, SessionToken string
	Expires                              time.Time
}

// RoleSession returns credentials for a session of a role that must have been
// added, as an instance profile would hand them out: nobody's trust is asked.
func (s *Sim) RoleSession(roleARN, name string, life time.Duration) (Credentials, error) {
	if _, ok := s.role(roleARN); !ok {
		return Credentials{}, fmt.Errorf("awssim: no role %s", roleARN)
	}
	now := s.clock()
	return s.issue(session{roleARN: roleARN, name: name, issued: now}, now.Add(life)), nil
}

// sessionMemory is how long an expired session is remembered, so that its use
// is answered with ExpiredToken and not as an unknown key.
const sessionMemory = 12 * time.Hour

func (s *Sim) issue(ses session, expires time.Time) Credentials {
	ses.Credentials = Credentials{
		AccessKeyID:  "ASIA" + randomBase32(16),
		SecretKey:    randomBase64(30),
		SessionToken: "IQoJb3JpZ2luX2Vj" + randomBase64(258),
		Expires:      expires.UTC().Truncate(time.Second),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.clock(); now.Sub(s.swept) > sessionMemory {
		s.swept = now
		maps.DeleteFunc(s.sessions, func(_ string, old session) bool { return now.Sub(old.Expires) > sessionMemory })
	}
	s.sessions[ses.AccessKeyID] = ses
	return ses.Credentials
}

// caller is who makes an authenticated request.
type caller struct {
	principal iam.Principal
	userID    string // aws:userid
	accessKey string
	identity  []*iam.Policy
	boundary  *iam.Policy
	session   *iam.Policy
	temporary bool
	issued    time.Time // of temporary credentials
	global    bool
}

// secretFor returns whom an access key stands for in a region, with its secret
// and, for temporary credentials, its token and expiry. The partitions of AWS
// do not know each other's.
func (s *Sim) secretFor(accessKey, region string) (caller, Credentials, bool) {
	who, creds, ok := s.holder(accessKey)
	if name, _ := iam.Partition(region); !ok || !strings.HasPrefix(who.principal.ARN, "arn:"+name+":") {
		return caller{}, Credentials{}, false
	}
	return who, creds, true
}

func (s *Sim) holder(accessKey string) (who caller, creds Credentials, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if u, ok := s.users[accessKey]; ok {
		return caller{
			principal: iam.Principal{ARN: u.ARN, Account: arnAccount(u.ARN)},
			userID:    uniqueID("AIDA", u.ARN),
			accessKey: accessKey,
			identity:  u.Identity,
			boundary:  u.Boundary,
		}, Credentials{AccessKeyID: u.AccessKeyID, SecretKey: u.SecretKey}, true
	}
	ses, ok := s.sessions[accessKey]
	if !ok {
		return caller{}, Credentials{}, false
	}
	role := s.roles[ses.roleARN] // without policies if it was removed since
	return caller{
		principal: iam.Principal{ARN: sessionARN(ses.roleARN, ses.name), RoleARN: ses.roleARN, Account: arnAccount(ses.roleARN)},
		userID:    uniqueID("AROA", ses.roleARN) + ":" + ses.name,
		accessKey: accessKey,
		identity:  role.Identity,
		boundary:  role.Boundary,
		session:   ses.policy,
		temporary: true,
		issued:    ses.issued,
		global:    ses.global,
	}, ses.Credentials, true
}

// sessionARN is how AWS names a session: the role's path is left out.
func sessionARN(roleARN, name string) string {
	parts := strings.SplitN(roleARN, ":", 6)
	return "arn:" + parts[1] + ":sts::" + parts[4] + ":assumed-role/" + roleARN[strings.LastIndexByte(roleARN, '/')+1:] + "/" + name
}

func arnAccount(arn string) string {
	if parts := strings.SplitN(arn, ":", 6); len(parts) == 6 {
		return parts[4]
	}
	return ""
}

func arnRegion(arn string) string {
	if parts := strings.SplitN(arn, ":", 6); len(parts) == 6 {
		return parts[3]
	}
	return ""
}

// resourceType is "role" in arn:aws:iam::111122223333:role/name.
func resourceType(arn string) string {
	kind, _, _ := strings.Cut(arn[strings.LastIndexByte(arn, ':')+1:], "/")
	return kind
}

// uniqueID makes IAM's unique ID out of an ARN, the same every time.
func uniqueID(prefix, arn string) string {
	sum := sha256.Sum256([]byte(arn))
	return prefix + base32.StdEncoding.EncodeToString(sum[:])[:17]
}

// optInRegions are those that an account must enable before it can use them:
// https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-regions.html
var optInRegions = []string{
	"af-south-1", "ap-east-1", "ap-east-2", "ap-south-2", "ap-southeast-3", "ap-southeast-4", "ap-southeast-5",
	"ap-southeast-6", "ap-southeast-7", "ca-west-1", "eu-central-2", "eu-south-1", "eu-south-2", "il-central-1",
	"me-central-1", "me-south-1", "mx-central-1",
}

// enabled reports whether a may use region.
func (a Account) enabled(region string) bool {
	return !slices.Contains(optInRegions, region) || slices.Contains(a.OptedIn, region)
}
