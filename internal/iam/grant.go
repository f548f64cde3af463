package iam

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"

	"github.com/auditdrain/auditdrain"
)

// Grant is everything that an AWS account has to allow so that one drain can write into one of its buckets. Its methods
// write that down as policies: exactly this, and no more. The same Grant always gives the same bytes.
//
// A field that is not known yet, and is needed, becomes a placeholder such as "<your-aws-account-id>".
type Grant struct {
	WriterRoleARN string // whom the role trusts
	ExternalID    string // what it requires of them
	RoleARN       string // the role that writes
	Bucket        string
	Prefix        string // without slashes at its ends; "": the bucket's root
	Region        string // of the bucket
	KMSKeyARN     string // the customer managed key that objects are encrypted with; "": S3's own, or an AWS managed one
	ObjectACL     bool   // writes name a canned ACL
}

// GrantFor is what a delivery needs, as far as its configuration tells: writer, external ID and key are left to the caller.
func GrantFor(d auditdrain.Delivery) Grant {
	bucket, prefix := d.SplitEndpoint()
	return Grant{RoleARN: d.RoleARN, Bucket: bucket, Prefix: prefix, Region: d.Region, ObjectACL: d.ObjectACL != ""}
}

// Sids of the statements that a Grant writes.
const (
	SidWrite   = "AllowS3Writes"
	SidEncrypt = "AllowKmsForS3Writes"
	SidUseKey  = "AllowVercelDrainRoleToUseKeyViaS3"
)

// newDocument and newStatement have the elements in the order in which AWS shows them.
type newDocument struct {
	Version   string
	Statement []newStatement
}

type newStatement struct {
	Sid         string `json:",omitempty"`
	Effect      Effect
	Principal   map[string]string            `json:",omitempty"`
	Action      any                          // string or []string
	Resource    string                       `json:",omitempty"`
	NotResource string                       `json:",omitempty"`
	Condition   map[string]map[string]string `json:",omitempty"`
}

// TrustPolicy is the trust policy of the role: the writer role may assume it, with the external ID only.
func (g Grant) TrustPolicy() string {
	return indented(newDocument{"2012-10-17", []newStatement{g.trust()}})
}

// TrustStatement is the one statement of TrustPolicy.
func (g Grant) TrustStatement() string { return indented(g.trust()) }

func (g Grant) trust() newStatement {
	return newStatement{
		Effect:    Allow,
		Principal: map[string]string{"AWS": cmp.Or(g.WriterRoleARN, "<writer-role-arn>")},
		Action:    "sts:AssumeRole",
		Condition: stringEquals("sts:ExternalId", cmp.Or(g.ExternalID, "<external-id>")),
	}
}

// PermissionsPolicy is the role's identity-based policy.
func (g Grant) PermissionsPolicy() string {
	doc := newDocument{"2012-10-17", []newStatement{g.write()}}
	if g.KMSKeyARN != "" {
		doc.Statement = append(doc.Statement, g.encrypt())
	}
	return indented(doc)
}

// WriteStatement is the statement of PermissionsPolicy that lets the role write objects.
func (g Grant) WriteStatement() string { return indented(g.write()) }

// EncryptStatement is the statement of PermissionsPolicy that lets the role use the key.
func (g Grant) EncryptStatement() string { return indented(g.encrypt()) }

func (g Grant) write() newStatement {
	return newStatement{Sid: SidWrite, Effect: Allow, Action: g.writeActions(), Resource: g.ObjectsARN()}
}

func (g Grant) encrypt() newStatement {
	return newStatement{
		Sid:       SidEncrypt,
		Effect:    Allow,
		Action:    "kms:GenerateDataKey",
		Resource:  cmp.Or(g.KMSKeyARN, "<your-kms-key-arn>"),
		Condition: g.viaS3(),
	}
}

// AssumeStatement is what the writer role's own policy needs: to assume the roles of customers. Those of its own account
// are left out, which a customer could otherwise name and have objects written with.
func (g Grant) AssumeStatement() string {
	writer := strings.SplitN(g.WriterRoleARN, ":", 6)
	resource := "arn:aws:iam::<the-platform's-account-id>:role/*"
	if len(writer) == 6 {
		resource = "arn:" + writer[1] + ":iam::" + writer[4] + ":role/*"
	}
	return indented(newStatement{Effect: Allow, Action: "sts:AssumeRole", NotResource: resource})
}

// KeyPolicyStatement is the statement that the key's policy needs besides those that it has, or "" if no customer
// managed key takes part.
func (g Grant) KeyPolicyStatement() string {
	if g.KMSKeyARN == "" {
		return ""
	}
	return indented(newStatement{
		Sid:       SidUseKey,
		Effect:    Allow,
		Principal: map[string]string{"AWS": cmp.Or(g.RoleARN, "<your-iam-role-arn>")},
		Action:    "kms:GenerateDataKey",
		Resource:  "*",
		Condition: g.viaS3(),
	})
}

// SessionPolicy is the most that a session of the role can do, whatever its policies allow, as compact JSON of the
// characters that sts:AssumeRole takes. kms:GenerateDataKey is always in it: a bucket's default encryption can be KMS
// without the drain's saying so.
func (g Grant) SessionPolicy() string {
	return encode(newDocument{"2012-10-17", []newStatement{
		{Effect: Allow, Action: g.writeActions(), Resource: g.ObjectsARN()},
		{Effect: Allow, Action: "kms:GenerateDataKey", Resource: "*", Condition: stringEquals("kms:ViaService", g.viaService())},
	}}, "")
}

// ObjectsARN is the pattern of all objects that the drain writes, those of test deliveries among them.
func (g Grant) ObjectsARN() string {
	partition, _ := g.partition()
	arn := "arn:" + partition + ":s3:::" + cmp.Or(g.Bucket, "<bucket-name>") + "/"
	if g.Prefix != "" {
		arn += g.Prefix + "/"
	}
	return arn + "*"
}

// partition is the region's, or the role's as long as that is all that is known, and its DNS suffix.
func (g Grant) partition() (name, dnsSuffix string) {
	if role, ok := auditdrain.ParseRoleARN(g.RoleARN); ok && g.Region == "" {
		for _, p := range partitions {
			if p.partition == role.Partition {
				return p.partition, p.dnsSuffix
			}
		}
	}
	return Partition(g.Region)
}

// Account is the account of the role.
func (g Grant) Account() string {
	if role, ok := auditdrain.ParseRoleARN(g.RoleARN); ok {
		return role.Account
	}
	return "<your-aws-account-id>"
}

func (g Grant) writeActions() []string {
	if g.ObjectACL {
		return []string{"s3:PutObject", "s3:PutObjectAcl"}
	}
	return []string{"s3:PutObject"}
}

// viaS3 restricts the use of a key to what S3 does for the account's own principals.
func (g Grant) viaS3() map[string]map[string]string {
	c := stringEquals("kms:CallerAccount", g.Account())
	c["StringEquals"]["kms:ViaService"] = g.viaService()
	return c
}

func (g Grant) viaService() string {
	_, suffix := g.partition()
	return "s3." + cmp.Or(g.Region, "<aws-region>") + "." + suffix
}

func stringEquals(key, value string) map[string]map[string]string {
	return map[string]map[string]string{"StringEquals": {key: value}}
}

func indented(v any) string { return encode(v, "  ") }

// encode is v as JSON, without the escapes for HTML that would make "&" and "<" hard to read.
func encode(v any, indent string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("iam: %v", err)) // strings, slices and maps of strings only
	}
	return latin1(strings.TrimSuffix(b.String(), "\n"))
}

// latin1 escapes what IAM and STS do not take in a policy, characters beyond U+00FF, the way JSON does (IAM API
// Reference, PutRolePolicy: PolicyDocument; AWS STS API Reference, AssumeRole: Policy).
func latin1(doc string) string {
	var b strings.Builder
	for _, r := range doc {
		if r <= 0xFF {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}
