package awssim

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/auditdrain/auditdrain/internal/iam"
)

const (
	kmsTarget      = "TrentService."
	kmsContentType = "application/x-amz-json-1.1"
	maxKMSMessage  = 4096

	ed25519Spec      = "ECC_NIST_EDWARDS25519"
	ed25519Algorithm = "ED25519_SHA_512"
	ed25519Prehashed = "ED25519_PH_SHA_512"
)

// kmsOperation returns what KMS is asked for, and whether it is KMS: the services
// with this protocol name the operation in a header.
func kmsOperation(r *http.Request) (op string, ok bool) {
	return strings.CutPrefix(r.Header.Get("X-Amz-Target"), kmsTarget)
}

func (c *call) doKMS() (reply, error) {
	if c.form.err != nil {
		return reply{}, refusal(http.StatusBadRequest, "SerializationException", c.form.err.Error())
	}
	if err := c.authenticateRPC(); err != nil {
		return reply{}, err
	}
	switch c.info.Op {
	case "GetPublicKey":
		return c.getPublicKey()
	case "Sign":
		return c.kmsSign()
	}
	return reply{}, notSimulated("KMS's " + c.info.Op)
}

// readKMS decodes the request. A parameter that in does not have is not simulated.
func (c *call) readKMS(in any) error {
	dec := json.NewDecoder(bytes.NewReader(c.form.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(in); err != nil {
		if _, ok := errors.AsType[*json.SyntaxError](err); ok {
			return refusal(http.StatusBadRequest, "SerializationException", err.Error())
		}
		return notSimulated(fmt.Sprintf("KMS's %s with these parameters (%v)", c.info.Op, err))
	}
	return nil
}

// kmsReply is a success of KMS.
func (c *call) kmsReply(out any) (reply, error) {
	body, err := json.Marshal(out)
	if err != nil {
		return reply{}, fmt.Errorf("render answer: %w", err)
	}
	h := c.answerHeader()
	h.Set("Content-Type", kmsContentType)
	return reply{status: http.StatusOK, requestID: h.Get("X-Amzn-Requestid"), header: h, body: body}, nil
}

// kmsCodes are KMS's names of what others call otherwise.
var kmsCodes = map[string]string{
	"AccessDenied":               "AccessDeniedException",
	"ExpiredToken":               "ExpiredTokenException",
	"IncompleteSignature":        "IncompleteSignatureException",
	"InternalError":              "KMSInternalException",
	"InvalidClientTokenId":       "UnrecognizedClientException",
	"MissingAuthenticationToken": "MissingAuthenticationTokenException",
	"ServiceUnavailable":         "ServiceUnavailableException",
	"SignatureDoesNotMatch":      "InvalidSignatureException",
	"Throttling":                 "ThrottlingException",
	"ValidationError":            "ValidationException",
}

// kmsRefusal renders e as KMS would: whatever the caller is to blame for has one
// status.
func kmsRefusal(e *Error, h http.Header) reply {
	rep := reply{status: e.Status, code: e.Code, header: h, requestID: h.Get("X-Amzn-Requestid")}
	if code, ok := kmsCodes[e.Code]; ok {
		rep.code = code
	}
	if rep.status < http.StatusInternalServerError {
		rep.status = http.StatusBadRequest
	}
	h.Set("Content-Type", kmsContentType)
	rep.body, _ = json.Marshal(map[string]string{"__type": rep.code, "message": e.Message}) // strings always can be
	return rep
}

func (c *call) getPublicKey() (reply, error) {
	var in struct{ KeyId string }
	if err := c.readKMS(&in); err != nil {
		return reply{}, err
	}
	key, err := c.useKey("kms:GetPublicKey", in.KeyId, c.scope.region, nil)
	if err != nil {
		return reply{}, err
	}
	if key.Private == nil {
		return reply{}, refusal(http.StatusBadRequest, "UnsupportedOperationException", "")
	}
	public, err := x509.MarshalPKIXPublicKey(key.Private.Public())
	if err != nil {
		return reply{}, fmt.Errorf("render public key: %w", err)
	}
	return c.kmsReply(map[string]any{
		"KeyId": key.ARN, "PublicKey": public, "KeySpec": ed25519Spec, "CustomerMasterKeySpec": ed25519Spec, "KeyUsage": "SIGN_VERIFY",
		"SigningAlgorithms": []string{ed25519Algorithm, ed25519Prehashed},
	})
}

func (c *call) kmsSign() (reply, error) {
	in := struct {
		KeyId, MessageType, SigningAlgorithm string
		Message                              []byte
	}{MessageType: "RAW"}
	if err := c.readKMS(&in); err != nil {
		return reply{}, err
	}
	if n := len(in.Message); n < 1 || n > maxKMSMessage {
		bound := "greater than or equal to 1"
		if n > 0 {
			bound = fmt.Sprint("less than or equal to ", maxKMSMessage)
		}
		return reply{}, validationError("1 validation error detected: Value at 'message' failed to satisfy constraint: Member must have length " + bound)
	}
	key, err := c.useKey("kms:Sign", in.KeyId, c.scope.region, map[string][]string{
		"kms:MessageType": {in.MessageType}, "kms:SigningAlgorithm": {in.SigningAlgorithm},
	})
	switch {
	case err != nil:
		return reply{}, err
	case key.Private == nil:
		return reply{}, refusal(http.StatusBadRequest, "InvalidKeyUsageException", key.ARN+" key usage is ENCRYPT_DECRYPT which is not valid for Sign.")
	case in.SigningAlgorithm == ed25519Prehashed && in.MessageType == "DIGEST":
		return reply{}, notSimulated("signing with " + ed25519Prehashed)
	case !slices.Contains([]string{ed25519Algorithm, ed25519Prehashed}, in.SigningAlgorithm):
		return reply{}, refusal(http.StatusBadRequest, "InvalidKeyUsageException",
			"Algorithm "+in.SigningAlgorithm+" and key spec "+ed25519Spec+" are incompatible with key "+key.ARN+".")
	case in.MessageType != "RAW" || in.SigningAlgorithm != ed25519Algorithm:
		return reply{}, validationError("Algorithm " + in.SigningAlgorithm + " and message type " + in.MessageType + " are incompatible.")
	}
	signature, err := key.Private.Sign(nil, in.Message, crypto.Hash(0))
	if err != nil {
		return reply{}, fmt.Errorf("sign: %w", err)
	}
	return c.kmsReply(map[string]any{"KeyId": key.ARN, "Signature": signature, "SigningAlgorithm": in.SigningAlgorithm})
}

// authorizeKMS decides whether S3 may use the key on the caller's behalf, and
// returns the key's ARN. The key is what the request or the bucket names.
func (c *call) authorizeKMS(b Bucket, action, keyID, objectARN string) (string, error) {
	_, suffix := iam.Partition(b.Region)
	key, err := c.useKey(action, keyID, b.Region, map[string][]string{
		"kms:ViaService":                   {"s3." + b.Region + "." + suffix},
		"kms:EncryptionContext:aws:s3:arn": {objectARN},
		"kms:EncryptionContextKeys":        {"aws:s3:arn"},
		"aws:ViaAWSService":                {"true"},
		"aws:SourceIp":                     nil, // S3 calls KMS, not the caller
		"aws:SecureTransport":              {"true"},
	})
	if e, ok := errors.AsType[*Error](err); ok && e.Code != "AccessDenied" {
		e.Code = "KMS." + e.Code // as S3 passes it on
	}
	if err == nil && key.Private != nil {
		err = notSimulated("encryption with a key for signing")
	}
	return key.ARN, err
}

// useKey decides whether a key of a region may be used, and can be, in the context
// of the request. The key is an ARN, or the ID of a key in the caller's account.
func (c *call) useKey(action, keyID, region string, context map[string][]string) (Key, error) {
	arn := keyID
	if !kmsARNRE.MatchString(arn) {
		name, _ := iam.Partition(region)
		arn = "arn:" + name + ":kms:" + region + ":" + c.who.principal.Account + ":key/" + keyID
	}
	if other := arnRegion(arn); other != region {
		return Key{}, refusal(http.StatusBadRequest, "NotFoundException", "Invalid arn "+other)
	}
	owner := arnAccount(arn)
	key, ok := c.sim.key(arn)
	if !ok && owner == c.who.principal.Account {
		return Key{}, refusal(http.StatusBadRequest, "NotFoundException", "Key '"+arn+"' does not exist")
	} // the key of another account, if it does not exist, is one that nobody may use
	all := map[string][]string{"kms:CallerAccount": {c.who.principal.Account}}
	maps.Copy(all, context)
	d := c.authorize(action, arn, all, iam.Policies{Resource: key.Policy, ResourceKind: iam.Key, ResourceAccount: owner})
	if !d.Allowed {
		return Key{}, c.keyDenied(action, arn, d)
	}
	switch key.State {
	case KeyDisabled:
		return Key{}, refusal(http.StatusBadRequest, "DisabledException", arn+" is disabled.")
	case KeyPendingDeletion:
		return Key{}, refusal(http.StatusBadRequest, "KMSInvalidStateException", arn+" is pending deletion.")
	}
	return key, nil
}

// keyDenied words why KMS denied the use of a key. It tells callers from other
// accounts than the key's neither which key it is, nor whether there is one,
// nor what its account has decided about it.
func (c *call) keyDenied(action, arn string, d iam.Decision) *Error {
	resource, reason := "on resource: "+arn, d.Reason(action)
	if arnAccount(arn) != c.who.principal.Account {
		resource = "on this resource"
		if d.Kind == iam.ResourceBased || d.Kind == iam.ResourceControl {
			reason = "because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access"
		}
	}
	return refusal(http.StatusForbidden, "AccessDenied",
		"User: "+c.who.principal.ARN+" is not authorized to perform: "+action+" "+resource+" "+reason)
}
