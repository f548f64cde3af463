package awssim_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
)

const signingKeyARN = "arn:aws:kms:eu-west-1:111122223333:key/5678abcd-12ab-34cd-56ef-1234567890ab"

func (w *world) kms(creds awssim.Credentials, opts ...func(*kms.Options)) *kms.Client {
	return kms.New(kms.Options{BaseEndpoint: &w.url, Region: region, Credentials: static(creds), Retryer: aws.NopRetryer{}}, opts...)
}

// newSigningWorld is a world with a key for signing that its account's policies
// decide about.
func newSigningWorld(t *testing.T) (*world, ed25519.PrivateKey) {
	w := newWorld(t)
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	must(t, w.AddKey(awssim.Key{
		ARN: signingKeyARN, Private: private, Policy: policyOf("Allow", `"Principal": {"AWS": "arn:aws:iam::111122223333:root"}, `, "kms:*"),
	}))
	return w, private
}

func signInput(change ...func(*kms.SignInput)) *kms.SignInput {
	in := &kms.SignInput{
		KeyId: aws.String(signingKeyARN), Message: []byte("message"),
		MessageType: types.MessageTypeRaw, SigningAlgorithm: types.SigningAlgorithmSpecEd25519Sha512,
	}
	for _, f := range change {
		f(in)
	}
	return in
}

func TestKMSSign(t *testing.T) {
	w, private := newSigningWorld(t)
	client := w.kms(admin)
	for _, id := range []string{signingKeyARN, strings.SplitAfter(signingKeyARN, "/")[1]} {
		key, err := client.GetPublicKey(t.Context(), &kms.GetPublicKeyInput{KeyId: &id})
		must(t, err)
		public, err := x509.ParsePKIXPublicKey(key.PublicKey)
		must(t, err)
		if !private.Public().(ed25519.PublicKey).Equal(public.(ed25519.PublicKey)) || *key.KeyId != signingKeyARN ||
			key.KeySpec != types.KeySpecEccNistEdwards25519 || key.KeyUsage != types.KeyUsageTypeSignVerify {
			t.Errorf("public key is %v of %+v", public, key)
		}
	}
	for _, n := range []int{1, 4096} {
		message := bytes.Repeat([]byte{'m'}, n)
		out, err := client.Sign(t.Context(), signInput(func(in *kms.SignInput) { in.Message = message }))
		must(t, err)
		if !bytes.Equal(out.Signature, ed25519.Sign(private, message)) || *out.KeyId != signingKeyARN {
			t.Errorf("signature of %d bytes: %+v", n, out)
		}
	}
	calls := w.calls.All("Sign")
	if len(calls) != 2 || calls[0].Service != "kms" || calls[0].Caller != "arn:aws:iam::111122223333:user/admin" || calls[0].RequestID == "" {
		t.Errorf("calls: %+v", calls)
	}
}

func TestKMSRefusals(t *testing.T) {
	const denied = "User: arn:aws:iam::111122223333:user/admin is not authorized to perform: kms:Sign on resource: " + signingKeyARN
	change := func(f func(*awssim.Key)) func(*world) { return func(w *world) { w.UpdateKey(signingKeyARN, f) } }
	for name, c := range map[string]struct {
		world   func(*world)
		client  func(*kms.Options)
		in      func(*kms.SignInput)
		status  int
		code    string
		message string
	}{
		"disabled":         {world: change(func(k *awssim.Key) { k.State = awssim.KeyDisabled }), code: "DisabledException", message: signingKeyARN + " is disabled."},
		"pending deletion": {world: change(func(k *awssim.Key) { k.State = awssim.KeyPendingDeletion }), code: "KMSInvalidStateException", message: signingKeyARN + " is pending deletion."},
		"removed":          {world: func(w *world) { w.RemoveKey(signingKeyARN) }, code: "NotFoundException", message: "Key '" + signingKeyARN + "' does not exist"},
		"another region": {in: func(in *kms.SignInput) { in.KeyId = aws.String(strings.Replace(signingKeyARN, region, "us-east-1", 1)) },
			code: "NotFoundException", message: "Invalid arn us-east-1"},
		"a symmetric key": {world: change(func(k *awssim.Key) { k.Private = nil }), code: "InvalidKeyUsageException",
			message: signingKeyARN + " key usage is ENCRYPT_DECRYPT which is not valid for Sign."},
		"key policy does not allow": {world: change(func(k *awssim.Key) { k.Policy = iam.MustParse(keyPolicy) }), code: "AccessDeniedException",
			message: denied + " because no resource-based policy allows the kms:Sign action"},
		"identity policy does not allow": {world: func(w *world) {
			must(t, w.AddUser(awssim.User{ARN: "arn:aws:iam::111122223333:user/admin", AccessKeyID: admin.AccessKeyID, SecretKey: admin.SecretKey}))
		}, code: "AccessDeniedException", message: denied + " because no identity-based policy allows the kms:Sign action"},
		"key policy forbids this algorithm": {world: change(func(k *awssim.Key) {
			k.Policy = iam.MustParse(`{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "kms:Sign", "Resource": "*",
				"Condition": {"StringEquals": {"kms:SigningAlgorithm": "ED25519_SHA_512", "kms:MessageType": "RAW"}}}]}`)
		}), code: "AccessDeniedException", message: denied + " with an explicit deny in a resource-based policy"},
		"wrong secret": {client: func(o *kms.Options) {
			o.Credentials = static(awssim.Credentials{AccessKeyID: admin.AccessKeyID, SecretKey: "another"})
		}, code: "InvalidSignatureException"},
		"unknown key": {client: func(o *kms.Options) {
			o.Credentials = static(awssim.Credentials{AccessKeyID: "AKIANOBODY", SecretKey: "another"})
		}, code: "UnrecognizedClientException", message: "The security token included in the request is invalid."},
		"a long message": {in: func(in *kms.SignInput) { in.Message = make([]byte, 4097) }, code: "ValidationException",
			message: "1 validation error detected: Value at 'message' failed to satisfy constraint: Member must have length less than or equal to 4096"},
		"another algorithm": {in: func(in *kms.SignInput) { in.SigningAlgorithm = types.SigningAlgorithmSpecEcdsaSha256 }, code: "InvalidKeyUsageException"},
		"a digest":          {in: func(in *kms.SignInput) { in.MessageType = types.MessageTypeDigest }, code: "ValidationException"},
		"not simulated":     {in: func(in *kms.SignInput) { in.DryRun = aws.Bool(true) }, status: 501, code: "NotImplemented"},
		"throttled": {world: func(w *world) {
			w.SetFault(func(awssim.FaultRequest) awssim.Fault { return awssim.Fault{Err: awssim.Throttling()} })
		}, code: "ThrottlingException", message: "Rate exceeded"},
		"AWS's own fault": {world: func(w *world) {
			w.SetFault(func(awssim.FaultRequest) awssim.Fault { return awssim.Fault{Err: awssim.InternalError()} })
		}, status: 500, code: "KMSInternalException"},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := newSigningWorld(t)
			in := signInput()
			if c.world != nil {
				c.world(w)
			}
			if c.in != nil {
				c.in(in)
			}
			var opts []func(*kms.Options)
			if c.client != nil {
				opts = append(opts, c.client)
			}
			_, err := w.kms(admin, opts...).Sign(t.Context(), in)
			if c.status == 0 {
				c.status = 400
			}
			wantCode(t, err, c.status, c.code)
			if e, _ := errors.AsType[smithy.APIError](err); c.message != "" && e.ErrorMessage() != c.message {
				t.Errorf("message %q, want %q", e.ErrorMessage(), c.message)
			}
		})
	}
}

func TestKMSOfOthers(t *testing.T) {
	w, _ := newSigningWorld(t)
	id := keyARN
	_, err := w.kms(admin).GetPublicKey(t.Context(), &kms.GetPublicKeyInput{KeyId: &id})
	wantCode(t, err, 400, "AccessDeniedException")
	w.UpdateKey(keyARN, func(k *awssim.Key) { k.Policy = policyOf("Allow", `"Principal": "*", `, "kms:*") })
	_, err = w.kms(admin).GetPublicKey(t.Context(), &kms.GetPublicKeyInput{KeyId: &id})
	wantCode(t, err, 400, "UnsupportedOperationException") // it is symmetric

	// An expired session, and a session whose token is missing.
	creds, err := w.RoleSession(roleARN, "x", time.Nanosecond)
	must(t, err)
	_, err = w.kms(creds).Sign(t.Context(), signInput())
	wantCode(t, err, 400, "ExpiredTokenException")
	creds.SessionToken = ""
	_, err = w.kms(creds).Sign(t.Context(), signInput())
	wantCode(t, err, 400, "UnrecognizedClientException")

	// S3 cannot encrypt with a key for signing.
	w.UpdateBucket(bucketName, func(b *awssim.Bucket) {
		b.Encryption = awssim.Encryption{Algorithm: "aws:kms", KMSKeyARN: signingKeyARN}
	})
	put := w.newPut()
	put.creds = admin
	if res := put.send(); res.StatusCode != 501 {
		t.Errorf("encryption with a key for signing: %s", res.Status)
	}
}
