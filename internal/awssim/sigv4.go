package awssim

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	sigAlgorithm = "AWS4-HMAC-SHA256"
	sigTerminal  = "aws4_request"
	sigTime      = "20060102T150405Z"
	maxSkew      = 15 * time.Minute
	unsigned     = "UNSIGNED-PAYLOAD"
	// unsignedTrailer is what the SDKs send over TLS: chunks without
	// signatures, and a checksum after the last.
	unsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
)

// payloadHashes are what may stand for the payload's hash in a signature.
var payloadHashes = []string{
	unsigned, unsignedTrailer,
	"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
	"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER",
}

var sha256RE = regexp.MustCompile(`^[0-9a-f]{64}$`)

// scope is the credential scope of a signature.
type scope struct{ date, region, service, terminal string }

func (s scope) String() string {
	return s.date + "/" + s.region + "/" + s.service + "/" + s.terminal
}

// authorization is a request's Authorization header, taken apart.
type authorization struct {
	accessKey     string
	scope         scope
	signedHeaders []string
	signature     string
	date          string // X-Amz-Date as sent
	time          time.Time
}

// parseAuthorization reads an Authorization header of Signature Version 4.
// The problem, if any, continues S3's "The authorization header is malformed; ".
func parseAuthorization(header string) (a authorization, problem string) {
	components := strings.Split(strings.TrimPrefix(header, sigAlgorithm), ",")
	if len(components) != 3 {
		return a, "the authorization header requires three components: Credential, SignedHeaders, and Signature."
	}
	var values [3]string
	for i, want := range []string{"Credential", "SignedHeaders", "Signature"} {
		component := strings.TrimSpace(components[i])
		name, value, ok := strings.Cut(component, "=")
		switch {
		case !ok:
			return a, `the authorization component "` + component + `" is malformed.`
		case name != want || value == "":
			return a, "missing " + want + "."
		}
		values[i] = value
	}
	credential := strings.Split(values[0], "/")
	if len(credential) != 5 {
		return a, `the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".`
	}
	a.accessKey = credential[0]
	a.scope = scope{date: credential[1], region: credential[2], service: credential[3], terminal: credential[4]}
	a.signedHeaders = strings.Split(values[1], ";")
	a.signature = values[2]
	return a, ""
}

// problem is what S3 finds wrong with a scope by itself, in the form of
// parseAuthorization's.
func (s scope) problem() string {
	switch _, err := time.Parse("20060102", s.date); {
	case s.service != "s3":
		return `incorrect service "` + s.service + `". This endpoint belongs to "s3".`
	case s.terminal != sigTerminal:
		return `incorrect terminal "` + s.terminal + `". This endpoint uses "` + sigTerminal + `".`
	case err != nil:
		return `incorrect date format "` + s.date + `". This date in the credential must be in the format "yyyyMMdd".`
	}
	return ""
}

// readDate takes the request's date, from X-Amz-Date or else from Date, and
// reports whether it has one.
func (a *authorization) readDate(h http.Header) bool {
	a.date = h.Get("X-Amz-Date")
	var err error
	if a.date != "" {
		a.time, err = time.Parse(sigTime, a.date)
	} else {
		a.time, err = http.ParseTime(h.Get("Date"))
		a.date = a.time.UTC().Format(sigTime)
	}
	return err == nil
}

// signed is what a signature is made over, kept because AWS shows it to those
// whose signature differs.
type signed struct {
	canonicalRequest string
	stringToSign     string
	signature        string
}

// sign computes the signature that r must have.
func (a *authorization) sign(secret string, r *http.Request, payloadHash string) signed {
	var s signed
	s.canonicalRequest = canonicalRequest(r, a.signedHeaders, payloadHash, a.scope.service == "s3")
	hashed := sha256.Sum256([]byte(s.canonicalRequest))
	s.stringToSign = sigAlgorithm + "\n" + a.date + "\n" + a.scope.String() + "\n" + hex.EncodeToString(hashed[:])
	key := hmacSHA256([]byte("AWS4"+secret), a.scope.date)
	for _, part := range []string{a.scope.region, a.scope.service, sigTerminal} {
		key = hmacSHA256(key, part)
	}
	s.signature = hex.EncodeToString(hmacSHA256(key, s.stringToSign))
	return s
}

func (s signed) matches(a authorization) bool {
	return hmac.Equal([]byte(s.signature), []byte(a.signature))
}

func hmacSHA256(key []byte, data string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(data))
	return h.Sum(nil)
}

// canonicalRequest is built from what came over the wire. S3 decodes the path
// and encodes it once; other services encode the encoded path once more.
func canonicalRequest(r *http.Request, signedHeaders []string, payloadHash string, s3 bool) string {
	var b strings.Builder
	b.Grow(1024)
	b.WriteString(r.Method)
	b.WriteByte('\n')
	path := r.URL.Path
	if !s3 {
		path = r.URL.EscapedPath()
	}
	if path == "" {
		path = "/"
	}
	uriEncode(&b, path, true)
	b.WriteByte('\n')
	b.WriteString(canonicalQuery(r.URL.RawQuery))
	b.WriteByte('\n')
	for _, name := range signedHeaders {
		b.WriteString(name)
		b.WriteByte(':')
		b.WriteString(headerValue(r, name))
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	b.WriteString(strings.Join(signedHeaders, ";"))
	b.WriteByte('\n')
	b.WriteString(payloadHash)
	return b.String()
}

// headerValue returns a header as it was sent: net/http keeps some apart.
func headerValue(r *http.Request, name string) string {
	switch name {
	case "host":
		return r.Host
	case "content-length":
		if r.ContentLength < 0 {
			return ""
		}
		return strconv.FormatInt(r.ContentLength, 10)
	case "transfer-encoding":
		return strings.Join(r.TransferEncoding, ",")
	}
	values := r.Header.Values(name)
	if len(values) == 1 {
		return trimAll(values[0])
	}
	trimmed := make([]string, len(values))
	for i, v := range values {
		trimmed[i] = trimAll(v)
	}
	return strings.Join(trimmed, ",")
}

// trimAll removes outer blanks, and makes one of several inner ones.
func trimAll(s string) string {
	s = strings.Trim(s, " \t")
	for strings.Contains(s, "  ") {
		s = strings.ReplaceAll(s, "  ", " ")
	}
	return s
}

func canonicalQuery(raw string) string {
	if raw == "" {
		return ""
	}
	var pairs []string
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		var b strings.Builder
		uriEncode(&b, queryDecode(name), false)
		b.WriteByte('=')
		uriEncode(&b, queryDecode(value), false)
		pairs = append(pairs, b.String())
	}
	// By name, then by value: "=" is less than any character of an encoded
	// name but "%", "-" and ".", hence the comparison in two steps.
	slices.SortFunc(pairs, func(x, y string) int {
		xn, xv, _ := strings.Cut(x, "=")
		yn, yv, _ := strings.Cut(y, "=")
		if c := strings.Compare(xn, yn); c != 0 {
			return c
		}
		return strings.Compare(xv, yv)
	})
	return strings.Join(pairs, "&")
}

func queryDecode(s string) string {
	if d, err := url.QueryUnescape(s); err == nil {
		return d
	}
	return s
}

// uriEncode encodes every byte but the unreserved characters of RFC 3986, and
// the slashes of a path.
func uriEncode(b *strings.Builder, s string, path bool) {
	const hexDigits = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9',
			c == '-', c == '.', c == '_', c == '~', c == '/' && path:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
}

// unsignedHeaders returns the headers that must be signed and are not.
func (a *authorization) unsignedHeaders(h http.Header) []string {
	var missing []string
	if !slices.Contains(a.signedHeaders, "host") {
		missing = append(missing, "host")
	}
	for name := range h {
		name = strings.ToLower(name)
		if strings.HasPrefix(name, "x-amz-") && !slices.Contains(a.signedHeaders, name) {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return missing
}

// authenticateS3 verifies the signature, but for the payload, and sets who
// calls. The region is the one that the request must be signed for, "" if any
// will do.
func (c *call) authenticateS3(region string) error {
	r := c.req
	header := r.Header.Get("Authorization")
	mechanism, _, ok := strings.Cut(header, " ")
	switch {
	case r.URL.Query().Has("X-Amz-Signature"):
		return notSimulated("presigned URLs")
	case header == "":
		return accessDeniedPlain() // anonymous
	case !ok:
		return invalidArgument("Authorization header is invalid -- one and only one ' ' (space) required", "Authorization", header)
	case mechanism == "AWS": // Signature Version 2
		return refusal(http.StatusBadRequest, "InvalidRequest",
			"The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.")
	case mechanism != sigAlgorithm:
		return invalidArgument("Unsupported Authorization Type", "Authorization", header)
	}
	malformed := func(problem string, detail ...Element) *Error {
		return refusal(http.StatusBadRequest, "AuthorizationHeaderMalformed", "The authorization header is malformed; "+problem, detail...)
	}
	a, problem := parseAuthorization(header)
	if problem = cmp.Or(problem, a.scope.problem()); problem != "" {
		return malformed(problem)
	}
	if !a.readDate(r.Header) {
		return refusal(http.StatusForbidden, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
	}
	if c.now.Sub(a.time).Abs() > maxSkew {
		return refusal(http.StatusForbidden, "RequestTimeTooSkewed",
			"The difference between the request time and the current time is too large.",
			Element{"RequestTime", a.date}, Element{"ServerTime", c.now.UTC().Format(time.RFC3339)},
			Element{"MaxAllowedSkewMilliseconds", strconv.FormatInt(maxSkew.Milliseconds(), 10)})
	}
	switch {
	case a.scope.date != a.date[:8]:
		return malformed("Invalid credential date. Date is not the same as X-Amz-Date.")
	case region != "" && a.scope.region != region:
		return malformed("the region '"+a.scope.region+"' is wrong; expecting '"+region+"'", Element{"Region", region}).
			withHeader("X-Amz-Bucket-Region", region)
	}

	who, creds, known := c.sim.secretFor(a.accessKey, a.scope.region)
	token := r.Header.Get("X-Amz-Security-Token")
	invalidToken := refusal(http.StatusBadRequest, "InvalidToken", "The provided token is malformed or otherwise invalid.", Element{"Token-0", token})
	switch {
	case !known, who.temporary && token == "":
		return refusal(http.StatusForbidden, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.",
			Element{"AWSAccessKeyId", a.accessKey})
	case token != creds.SessionToken:
		return invalidToken
	case who.temporary && !c.now.Before(creds.Expires):
		return ExpiredSession(token)
	}
	if account := c.sim.account(who.principal.Account); !account.enabled(a.scope.region) || who.global && !(Account{}).enabled(a.scope.region) {
		return invalidToken
	}

	if missing := a.unsignedHeaders(r.Header); missing != nil {
		return refusal(http.StatusForbidden, "AccessDenied", "There were headers present in the request which were not signed",
			Element{"HeadersNotSigned", strings.Join(missing, ", ")})
	}
	payloadHash := r.Header.Get("X-Amz-Content-Sha256")
	switch {
	case payloadHash == "":
		return refusal(http.StatusBadRequest, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
	case !slices.Contains(payloadHashes, payloadHash) && !sha256RE.MatchString(payloadHash):
		return invalidArgument("x-amz-content-sha256 must be "+strings.Join(payloadHashes, ", ")+" or a valid sha256 value.",
			"x-amz-content-sha256", payloadHash)
	}
	if want := a.sign(creds.SecretKey, r, payloadHash); !want.matches(a) {
		return refusal(http.StatusForbidden, "SignatureDoesNotMatch",
			"The request signature we calculated does not match the signature you provided. Check your key and signing method.",
			Element{"AWSAccessKeyId", a.accessKey},
			Element{"StringToSign", want.stringToSign},
			Element{"SignatureProvided", a.signature},
			Element{"StringToSignBytes", hexBytes(want.stringToSign)},
			Element{"CanonicalRequest", want.canonicalRequest},
			Element{"CanonicalRequestBytes", hexBytes(want.canonicalRequest)})
	}
	c.who, c.scope = who, a.scope
	return nil
}

// authenticateRPC does the same for STS and KMS, which word it differently. The
// codes are STS's.
func (c *call) authenticateRPC() error {
	r := c.req
	header := r.Header.Get("Authorization")
	if !strings.HasPrefix(header, sigAlgorithm+" ") {
		return refusal(http.StatusForbidden, "MissingAuthenticationToken", "Request is missing Authentication Token")
	}
	a, problem := parseAuthorization(header)
	if problem != "" {
		return refusal(http.StatusBadRequest, "IncompleteSignature", "Authorization header is malformed: "+problem)
	}
	if !a.readDate(r.Header) {
		return refusal(http.StatusBadRequest, "IncompleteSignature", "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	noMatch := func(message string) error { return refusal(http.StatusForbidden, "SignatureDoesNotMatch", message) }
	now := c.now.UTC().Format(sigTime)
	if early := c.now.Add(-maxSkew); a.time.Before(early.Truncate(time.Second)) {
		return noMatch("Signature expired: " + a.date + " is now earlier than " + early.UTC().Format(sigTime) + " (" + now + " - 15 min.)")
	}
	if late := c.now.Add(maxSkew); a.time.After(late) {
		return noMatch("Signature not yet current: " + a.date + " is still later than " + late.UTC().Format(sigTime) + " (" + now + " + 15 min.)")
	}
	who, creds, known := c.sim.secretFor(a.accessKey, a.scope.region)
	region, _ := hostRegion(c.info.Service, hostname(r))
	switch {
	case a.scope.terminal != sigTerminal:
		return noMatch("Credential should be scoped with a valid terminator: '" + sigTerminal + "', not '" + a.scope.terminal + "'. ")
	case a.scope.service != c.info.Service:
		return noMatch("Credential should be scoped to correct service: '" + c.info.Service + "'. ")
	case region != "" && a.scope.region != region:
		return noMatch("Credential should be scoped to a valid region. ")
	case a.scope.date != a.date[:8]:
		return noMatch("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '" + a.scope.date + "' != '" + a.date[:8] + "', from '" + a.date + "'.")
	case !known, r.Header.Get("X-Amz-Security-Token") != creds.SessionToken, !c.sim.account(who.principal.Account).enabled(a.scope.region):
		return refusal(http.StatusForbidden, "InvalidClientTokenId", "The security token included in the request is invalid.")
	case who.temporary && !c.now.Before(creds.Expires):
		return refusal(http.StatusForbidden, "ExpiredToken", "The security token included in the request is expired")
	}
	hash := sha256.Sum256(c.form.body)
	if !slices.Contains(a.signedHeaders, "host") || !a.sign(creds.SecretKey, r, hex.EncodeToString(hash[:])).matches(a) {
		return noMatch("The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	c.who, c.scope = who, a.scope
	return nil
}

// hexBytes is how S3 spells out bytes: "41 57 53 34".
func hexBytes(s string) string {
	var b bytes.Buffer
	for i := range len(s) {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(hex.EncodeToString([]byte{s[i]}))
	}
	return b.String()
}
