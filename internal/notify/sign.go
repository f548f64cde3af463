package notify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// signatures returns the value of the header webhook-signature: one signature
// for each secret.
func signatures(secrets [][]byte, id, timestamp string, body []byte) string {
	var all []string
	for _, secret := range secrets {
		mac := hmac.New(sha256.New, secret)
		fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
		all = append(all, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(all, " ")
}

// The length of a secret, in bytes, as Standard Webhooks has it.
const minSecret, maxSecret = 24, 64

// ParseSecrets reads secrets as Standard Webhooks writes them: whsec_ and
// base64. There may be several, with blanks in between, each of which signs:
// so a receiver can go over from one to the next. Errors do not show them.
func ParseSecrets(value string) ([][]byte, error) {
	var secrets [][]byte
	for _, text := range strings.Fields(value) {
		encoded, ok := strings.CutPrefix(text, "whsec_")
		secret, err := base64.StdEncoding.DecodeString(encoded)
		if !ok || err != nil || len(secret) < minSecret || len(secret) > maxSecret {
			return nil, fmt.Errorf("a secret of %d characters is not allowed: use whsec_ and %d to %d random bytes in base64", len(text), minSecret, maxSecret)
		}
		secrets = append(secrets, secret)
	}
	if len(secrets) == 0 {
		return nil, errors.New("a secret is needed: use whsec_ and the output of openssl rand -base64 32")
	}
	return secrets, nil
}
