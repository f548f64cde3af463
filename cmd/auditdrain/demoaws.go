package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/auditdrain/auditdrain/internal/awssim"
	"github.com/auditdrain/auditdrain/internal/iam"
)

// The demo's world: the platform's account with the writer role, and a
// customer's with a bucket, a key and a role.
const (
	demoRegion       = "us-east-1"
	demoTeam         = "team_demo"
	demoBucket       = "acme-audit-archive"
	demoEndpoint     = "s3://" + demoBucket + "/audit-logs"
	demoWriterRole   = "arn:aws:iam::977805900156:role/vercel-drains-s3-writer"
	demoCustomer     = "123456789012"
	demoCustomerRole = "arn:aws:iam::" + demoCustomer + ":role/vercel-drain-writer"
	demoKey          = "arn:aws:kms:us-east-1:" + demoCustomer + ":key/5a7c0de0-9e1f-4d37-8a52-0f6b1c2d3e4f"

	demoAccessKey = "AKIADEMODEMODEMODEMO"
	demoSecretKey = "demo-only/this-key-opens-nothing-but-awssim"
)

// The platform's side: a user that may become the writer role, which may
// become any role that trusts it.
const (
	demoUserPolicy    = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"` + demoWriterRole + `"}]}`
	demoWriterTrust   = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::977805900156:user/auditdrain"},"Action":"sts:AssumeRole"}]}`
	demoWriterActions = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}`
)

// The customer's side, as the documentation tells customers to set it up: the
// bucket's default encryption uses a key of the customer's.
const (
	demoTrustPolicy = `{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Principal": {"AWS": "` + demoWriterRole + `"},
      "Action": "sts:AssumeRole",
      "Condition": {"StringEquals": {"sts:ExternalId": "vercel-team:` + demoTeam + `"}}
    }
  ]
}`
	demoPermissions = `{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "AllowS3Writes",
      "Effect": "Allow",
      "Action": ["s3:PutObject"],
      "Resource": "arn:aws:s3:::` + demoBucket + `/audit-logs/*"
    },
    {
      "Sid": "AllowKmsForS3Writes",
      "Effect": "Allow",
      "Action": "kms:GenerateDataKey",
      "Resource": "` + demoKey + `",
      "Condition": {
        "StringEquals": {
          "kms:CallerAccount": "` + demoCustomer + `",
          "kms:ViaService": "s3.` + demoRegion + `.amazonaws.com"
        }
      }
    }
  ]
}`
	demoKeyPolicy = `{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "AllowVercelDrainRoleToUseKeyViaS3",
      "Effect": "Allow",
      "Principal": {"AWS": "` + demoCustomerRole + `"},
      "Action": "kms:GenerateDataKey",
      "Resource": "*",
      "Condition": {
        "StringEquals": {
          "kms:CallerAccount": "` + demoCustomer + `",
          "kms:ViaService": "s3.` + demoRegion + `.amazonaws.com"
        }
      }
    }
  ]
}`
)

// newDemoAWS returns an AWS whose objects are files under dir.
func newDemoAWS(dir string) (*awssim.Sim, error) {
	sim, err := awssim.New(awssim.Options{Dir: dir})
	if err != nil {
		return nil, err
	}
	policy := func(doc string) []*iam.Policy { return []*iam.Policy{iam.MustParse(doc)} }
	for _, add := range []func() error{
		func() error {
			return sim.AddUser(awssim.User{
				ARN:         "arn:aws:iam::977805900156:user/auditdrain",
				AccessKeyID: demoAccessKey,
				SecretKey:   demoSecretKey,
				Identity:    policy(demoUserPolicy),
			})
		},
		func() error {
			return sim.AddRole(awssim.Role{ARN: demoWriterRole, Trust: iam.MustParse(demoWriterTrust), Identity: policy(demoWriterActions)})
		},
		func() error {
			return sim.AddRole(awssim.Role{ARN: demoCustomerRole, Trust: iam.MustParse(demoTrustPolicy), Identity: policy(demoPermissions)})
		},
		func() error { return sim.AddKey(awssim.Key{ARN: demoKey, Policy: iam.MustParse(demoKeyPolicy)}) },
		func() error {
			return sim.AddBucket(awssim.Bucket{
				Name:       demoBucket,
				Account:    demoCustomer,
				Region:     demoRegion,
				Encryption: awssim.Encryption{Algorithm: "aws:kms", KMSKeyARN: demoKey},
			})
		},
	} {
		if err := add(); err != nil {
			return nil, fmt.Errorf("set up the demo's AWS: %w", err)
		}
	}
	return sim, nil
}

// useDemoAWS points the standard AWS environment of this process at the
// simulated AWS, and at nothing else.
func useDemoAWS(url string) {
	for _, assignment := range os.Environ() {
		if name, _, _ := strings.Cut(assignment, "="); strings.HasPrefix(name, "AWS_") {
			os.Unsetenv(name)
		}
	}
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_S3":         url,
		"AWS_ENDPOINT_URL_STS":        url,
		"AWS_REGION":                  demoRegion,
		"AWS_ACCESS_KEY_ID":           demoAccessKey,
		"AWS_SECRET_ACCESS_KEY":       demoSecretKey,
		"AWS_EC2_METADATA_DISABLED":   "true",
		"AWS_CONFIG_FILE":             os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		os.Setenv(name, value)
	}
}
