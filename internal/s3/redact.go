package s3

import (
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const redacted = "[redacted]"

// echoes are the elements in which S3 repeats what a request was signed with,
// to their end or, in a body that was cut short, to its.
var echoes = func() (res []*regexp.Regexp) {
	for _, name := range []string{
		`Token-\d+`, "StringToSign", "StringToSignBytes", "CanonicalRequest", "CanonicalRequestBytes", "SignatureProvided",
	} {
		res = append(res, regexp.MustCompile(`(?s)(<`+name+`(?:\s[^>]*)?>).*?(</`+name+`\s*>|$)`))
	}
	return res
}()

// redact takes those elements' content out of an answer's body.
func redact(body []byte) string {
	s := string(body)
	for _, re := range echoes {
		s = re.ReplaceAllString(s, "${1}"+redacted+"${2}")
	}
	return s
}

// clean takes creds out of s, wherever else they may be, and makes it UTF-8.
func clean(s string, creds aws.Credentials) string {
	for _, secret := range []string{creds.SessionToken, creds.SecretAccessKey} {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, redacted)
		}
	}
	return strings.ToValidUTF8(s, "�")
}
