package signing

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
)

// kmsTimeout bounds one call to KMS, with what the SDK repeats of it.
const kmsTimeout = 15 * time.Second

var kmsKeyARN = regexp.MustCompile(`^arn:aws[a-z0-9-]*:kms:([a-z0-9-]+):\d{12}:key/[A-Za-z0-9-]+$`)

// CheckKMSKeyARN returns an error unless arn names a KMS key. An alias does not:
// it may name another key tomorrow.
func CheckKMSKeyARN(arn string) error {
	if !kmsKeyARN.MatchString(arn) {
		return fmt.Errorf("%q is not the ARN of a KMS key, such as arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab; an alias is not enough", arn)
	}
	return nil
}

// kmsKeys are keys that AWS KMS holds, of any region: the ARN says which.
type kmsKeys struct{ client *kms.Client }

func newKMSKeys(cfg aws.Config) kmsKeys { return kmsKeys{kms.NewFromConfig(cfg)} }

func regionOf(arn string) func(*kms.Options) {
	return func(o *kms.Options) { o.Region = strings.Split(arn, ":")[3] }
}

const rightKey = "create one with spec " + string(types.KeySpecEccNistEdwards25519) + " and usage " + string(types.KeyUsageTypeSignVerify)

// public returns the public key of an Ed25519 key. A key of another kind is an
// error.
func (k kmsKeys) public(ctx context.Context, arn string) (ed25519.PublicKey, error) {
	ctx, cancel := context.WithTimeout(ctx, kmsTimeout)
	defer cancel()
	out, err := k.client.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: &arn}, regionOf(arn))
	if e, ok := errors.AsType[*types.UnsupportedOperationException](err); ok {
		return nil, fmt.Errorf("it is a symmetric key (%s): %s", e.ErrorCode(), rightKey)
	}
	if err != nil {
		return nil, kmsError(err)
	}
	if out.KeySpec != types.KeySpecEccNistEdwards25519 || !slices.Contains(out.SigningAlgorithms, types.SigningAlgorithmSpecEd25519Sha512) {
		return nil, fmt.Errorf("it is a key with spec %s and usage %s: %s", out.KeySpec, out.KeyUsage, rightKey)
	}
	parsed, err := x509.ParsePKIXPublicKey(out.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("its public key: %w", err)
	}
	public, ok := parsed.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("its public key is %T, not Ed25519", parsed)
	}
	return public, nil
}

// sign returns the signature of a message, which nobody has verified yet.
func (k kmsKeys) sign(ctx context.Context, arn string, message []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, kmsTimeout)
	defer cancel()
	out, err := k.client.Sign(ctx, &kms.SignInput{
		KeyId: &arn, Message: message, MessageType: types.MessageTypeRaw, SigningAlgorithm: types.SigningAlgorithmSpecEd25519Sha512,
	}, regionOf(arn))
	if err != nil {
		return nil, kmsError(err)
	}
	return out.Signature, nil
}

// unusable are the codes of KMS that mean that a person has to do something before
// the key can be used, if it ever can again.
var unusable = []string{
	"AccessDeniedException", "DisabledException", "InvalidKeyUsageException", "KMSInvalidStateException", "NotFoundException",
}

// kmsError is err as people should see it, and errUnusable if it says so.
func kmsError(err error) error {
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok || !slices.Contains(unusable, e.ErrorCode()) {
		return fmt.Errorf("AWS KMS: %w", err)
	}
	return fmt.Errorf("%w: AWS KMS answers %s: %s", errUnusable, e.ErrorCode(), e.ErrorMessage())
}
