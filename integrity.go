package auditdrain

// Integrity is how far the account is that signed manifests keep of a drain: the
// answer of GET /v1/drains/{id}/integrity. Of a drain that is deleted there is none,
// although its last manifest may be still to come.
type Integrity struct {
	State IntegrityState `json:"state"`
	// Manifests is how many have been written, and so the number of the last one;
	// Head is its SHA-256, in hexadecimal, and CoveredUntil where its time ends.
	Manifests    uint64 `json:"manifests"`
	Head         string `json:"head,omitempty"`
	CoveredUntil int64  `json:"coveredUntil,omitempty"` // Unix ms
	WrittenAt    int64  `json:"writtenAt,omitempty"`    // Unix ms
	// Waiting is how many are due and have not been written.
	Waiting uint64 `json:"waiting"`
	// LastError is why the next one could not be written, if it has been tried.
	LastError   string `json:"lastError,omitempty"`
	LastErrorAt int64  `json:"lastErrorAt,omitempty"` // Unix ms
	// Anchored is the number of the last manifest whose head is known to be kept
	// elsewhere, 0 if none is.
	Anchored uint64 `json:"anchored,omitempty"`
	// KeyID is the fingerprint of the key that signs.
	KeyID string `json:"keyId,omitempty"`
	// Folder is where manifests are written to, and Verify the command that proves
	// by them that nothing is missing. Of a drain that has moved it has to be told
	// the other places, too. Both are empty if there are no manifests and will be
	// none.
	Folder string `json:"folder,omitempty"` // s3://bucket/prefix/manifest/ID/
	Verify string `json:"verify,omitempty"`
}

// IntegrityState says whether a drain's account goes on.
type IntegrityState string

// The states. Whatever it is, what is Waiting is still to be written.
const (
	IntegrityOff    IntegrityState = "off"
	IntegrityOn     IntegrityState = "on"
	IntegrityPaused IntegrityState = "paused" // as its drain; the pause is accounted for once it is over
)
