package diagnose

import (
	"fmt"
	"strings"

	"github.com/auditdrain/auditdrain"
)

// The causes of what KMS refuses to S3, for programs.
const (
	CauseKMSPermissions auditdrain.CauseCode = "kms_permissions_policy" // of the role
	CauseKMSKeyPolicy   auditdrain.CauseCode = "kms_key_policy"
	CauseKMSDeny        auditdrain.CauseCode = "kms_deny" // a Deny statement
	CauseKMSDisabled    auditdrain.CauseCode = "kms_key_disabled"
	CauseKMSDeletion    auditdrain.CauseCode = "kms_key_pending_deletion"
	CauseKMSMissing     auditdrain.CauseCode = "kms_key_missing"
	CauseKMSRegion      auditdrain.CauseCode = "kms_key_region" // in another than the bucket
)

// unknownKey stands for the key's ARN where AWS does not tell it: across
// accounts. As a Resource it is every key that the conditions admit.
const unknownKey = "*"

// key is the key, in words.
func (r *refusal) key() string {
	if r.grant.KMSKeyARN == unknownKey {
		return "of the bucket " + r.grant.Bucket
	}
	return r.grant.KMSKeyARN
}

// kmsDenied explains that the role may not use the key. Its own policy and the
// key's both have to allow it.
func (r *refusal) kmsDenied() {
	key := r.key()
	switch by := r.denial.by; {
	case r.denial.anyKeyReason:
		r.add(r.keyPolicy())
		r.add(r.keyElsewhere())
	case by == "identity-based policy" && r.denial.explicit, by == "resource-based policy" && r.denial.explicit:
		where, who := "permissions policies of "+r.RoleARN, auditdrain.ActorRoleAdmin
		if by == "resource-based policy" {
			where, who = "policy of key "+key, auditdrain.ActorKeyAdmin
		}
		r.add(auditdrain.Cause{
			Code: CauseKMSDeny, Confirmed: true, Who: who,
			Text:   fmt.Sprintf("A Deny statement in the %s forbids %s.", where, r.denial.action),
			Fix:    fmt.Sprintf("Remove that statement, or except %s from it by a condition.", r.RoleARN),
			Change: r.except("the Deny statement in the " + where),
		})
	case by == "identity-based policy":
		r.add(auditdrain.Cause{
			Code: CauseKMSPermissions, Confirmed: true, Who: auditdrain.ActorRoleAdmin,
			Text:   fmt.Sprintf("The bucket encrypts with the customer managed key %s, and no permissions policy of %s allows kms:GenerateDataKey on it through S3 in %s.", key, r.RoleARN, r.delivery.Region),
			Fix:    "Add this statement to the role's permissions policy; the key's policy has to allow it as well.",
			Change: &auditdrain.Change{Where: "permissions policy of " + r.RoleARN, Statement: r.grant.EncryptStatement()},
		})
	case by == "resource-based policy":
		c := r.keyPolicy()
		c.Confirmed = true
		r.add(c)
	case by == "permissions boundary":
		r.add(r.boundary(r.grant.EncryptStatement()))
	case by == "session policy":
		r.add(r.ownSessionPolicy())
	case by == "service control policy", by == "resource control policy":
		r.add(r.organization(r.grant.EncryptStatement()))
	}
}

func (r *refusal) keyPolicy() auditdrain.Cause {
	return auditdrain.Cause{
		Code: CauseKMSKeyPolicy, Who: auditdrain.ActorKeyAdmin,
		Text:   fmt.Sprintf("The policy of the KMS key %s does not let %s use it through S3 in %s.", r.key(), r.RoleARN, r.delivery.Region),
		Fix:    "Add this statement to the key's policy, and keep those that are there.",
		Change: &auditdrain.Change{Where: "policy of key " + r.key(), Statement: r.grant.KeyPolicyStatement()},
	}
}

func (r *refusal) keyElsewhere() auditdrain.Cause {
	return auditdrain.Cause{
		Code: CauseKMSRegion, Who: auditdrain.ActorBucketOwner,
		Text: fmt.Sprintf("The bucket's default encryption names a KMS key that is not in the bucket's region %s.", r.delivery.Region),
		Fix:  "Choose a key of the bucket's own region as the bucket's default encryption key.",
		Change: &auditdrain.Change{
			Where: "default encryption of bucket " + r.grant.Bucket,
		},
	}
}

// kmsRefused explains codes that begin with "KMS.": the key itself is the
// reason.
func (r *refusal) kmsRefused() {
	key := keyRE.FindString(r.Message)
	if key == "" {
		key = "of the bucket's default encryption"
	}
	state := func(code auditdrain.CauseCode, text, fix string) {
		r.add(auditdrain.Cause{
			Code: code, Confirmed: true, Who: auditdrain.ActorKeyAdmin, Text: text, Fix: fix,
			Change: &auditdrain.Change{Where: "KMS key " + key},
		})
	}
	switch {
	case r.Code == "KMS.DisabledException":
		state(CauseKMSDisabled, fmt.Sprintf("The KMS key %s is disabled.", key),
			fmt.Sprintf("Enable it (aws kms enable-key), or choose another default encryption key for the bucket %s.", r.grant.Bucket))
	case strings.HasPrefix(r.Code, "KMS.KMSInvalidState") && strings.Contains(r.Message, "pending deletion"):
		state(CauseKMSDeletion, fmt.Sprintf("The KMS key %s is scheduled for deletion; what it has encrypted will be lost with it.", key),
			fmt.Sprintf("Cancel its deletion (aws kms cancel-key-deletion) and enable it, or choose another default encryption key for the bucket %s.", r.grant.Bucket))
	case strings.HasPrefix(r.Code, "KMS.KMSInvalidState"):
		state(CauseKMSDisabled, fmt.Sprintf("The KMS key %s is in a state in which it cannot be used.", key),
			"Look at the key's state in the KMS console (unavailable, or without key material).")
	case r.Code == "KMS.NotFoundException" && strings.HasPrefix(r.Message, "Invalid arn"):
		c := r.keyElsewhere()
		c.Confirmed = true
		r.add(c)
	case r.Code == "KMS.NotFoundException":
		state(CauseKMSMissing, fmt.Sprintf("There is no KMS key %s.", key),
			fmt.Sprintf("Choose an existing key as the default encryption key of the bucket %s.", r.grant.Bucket))
	}
}
