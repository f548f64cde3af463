# The IAM role with which an audit log drain writes into an S3 bucket of this account; the bucket and its KMS key, too, if
# you want them made. A module by itself:
#
#   terraform init && terraform apply      (or tofu)
#
# The variables' defaults are the drain's own values, as far as they are known; the others are asked for. Then set the
# output role_arn as the drain's roleArn and run a test delivery.

terraform {
  required_version = ">= 1.2"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

provider "aws" {
  region = var.region
{{- if .AccountKnown}}
  # Role and bucket are in one account.
  allowed_account_ids = [{{hcl .Account}}]
{{- end}}
}

variable "writer_role_arn" {
  type        = string
  description = "The platform's role. Nobody else can assume the role made here."
{{- with .WriterRoleARN}}
  default     = {{hcl .}}
{{- end}}
}

variable "external_id" {
  type        = string
  description = "Your team's external ID. The platform derives it and nobody can choose another team's."
{{- with .ExternalID}}
  default     = {{hcl .}}
{{- end}}

  validation {
    condition     = can(regex("^[A-Za-z0-9_+=,.@:/-]{2,}$", var.external_id)) # no wildcards
    error_message = "Use the external ID as the platform tells it."
  }
}

variable "role_name" {
  type        = string
  description = "Name of the role to make."
  default     = {{hcl .RoleName}}
}

variable "role_path" {
  type        = string
  description = "Path of the role, part of its ARN."
  default     = {{hcl .RolePath}}
}

variable "bucket" {
  type        = string
  description = "The bucket, which exists or is made here."
{{- with .Bucket}}
  default     = {{hcl .}}
{{- end}}
}

variable "prefix" {
  type        = string
  description = "Where in the bucket the drain writes, without slashes at its ends; empty for the bucket's root."
  default     = {{hcl .Prefix}}

  validation {
    condition     = !can(regex("^/|/$|[*?$\\{}]", var.prefix))
    error_message = "Leave out slashes at the ends, and * ? $ { and }, which IAM policies give a meaning to."
  }
}

variable "region" {
  type        = string
  description = "Region of the bucket."
{{- with .Region}}
  default     = {{hcl .}}
{{- end}}
}

variable "object_acl" {
  type        = string
  description = "The drain's objectAcl, or none. Writing with an ACL takes one more permission."
  default     = {{hcl .ACL}}

  validation {
    condition     = contains(["none", "private", "bucket-owner-read", "bucket-owner-full-control"], var.object_acl)
    error_message = "Use none, private, bucket-owner-read or bucket-owner-full-control."
  }
}

variable "kms_key_arn" {
  type        = string
  description = "ARN of the customer managed key that the bucket encrypts with, if it has one, else empty."
  default     = {{hcl .KMSKeyARN}}

  validation {
    condition     = var.kms_key_arn == "" || can(regex("^arn:[a-z0-9-]+:kms:[a-z0-9-]+:[0-9]{12}:key/", var.kms_key_arn))
    error_message = "Use the ARN of the key itself: policies do not know aliases."
  }
}

variable "create_bucket" {
  type        = bool
  description = "Make the bucket."
  default     = false
}

variable "bucket_encryption" {
  type        = string
  description = "Default encryption of a bucket that is made. aws:kms without a key of yours uses the AWS managed key aws/s3."
  default     = {{hcl .BucketEncryption}}

  validation {
    condition     = contains(["AES256", "aws:kms", "aws:kms:dsse"], var.bucket_encryption)
    error_message = "Use AES256, aws:kms or aws:kms:dsse."
  }
}

variable "create_kms_key" {
  type        = bool
  description = "Make a customer managed key for the bucket that is made."
  default     = false
}

variable "object_lock_mode" {
  type        = string
  description = "Object Lock of a bucket that is made: none, GOVERNANCE or COMPLIANCE. With COMPLIANCE nobody can delete an object before its time, not even the account's root."
  default     = "none"

  validation {
    condition     = contains(["none", "GOVERNANCE", "COMPLIANCE"], var.object_lock_mode)
    error_message = "Use none, GOVERNANCE or COMPLIANCE."
  }
}

variable "object_lock_days" {
  type        = number
  description = "For how many days objects are locked."
  default     = 365
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  account      = data.aws_caller_identity.current.account_id
  partition    = data.aws_partition.current.partition
  bucket_count = var.create_bucket ? 1 : 0
  # At most one: the key that is made here or the one that was named.
  key_arns = concat(aws_kms_key.audit_log[*].arn, [for arn in [var.kms_key_arn] : arn if arn != ""])
  # IAM refuses characters beyond U+00FF in a policy, and its ? matches any one character.
  policy_prefix = replace(var.prefix, "/[^\\x{00}-\\x{FF}]/", "?")
  # The role can use the key through S3 in the bucket's region, not by itself.
  via_s3 = {
    StringEquals = {
      "kms:CallerAccount" = local.account
      "kms:ViaService"    = "s3.${var.region}.${data.aws_partition.current.dns_suffix}"
    }
  }
  key_policy_statement = {
    Sid       = "AllowVercelDrainRoleToUseKeyViaS3"
    Effect    = "Allow"
    Principal = { AWS = aws_iam_role.audit_log.arn }
    Action    = "kms:GenerateDataKey"
    Resource  = "*"
    Condition = local.via_s3
  }
}

# Trusts the writer role alone, and only with the external ID: without it, anybody whom the platform serves could make the
# platform write here (the confused deputy problem).
resource "aws_iam_role" "audit_log" {
  name        = var.role_name
  path        = var.role_path
  description = "Writes audit log events into an S3 bucket, and can do nothing else"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { AWS = var.writer_role_arn }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "sts:ExternalId" = var.external_id } }
    }]
  })

  lifecycle {
    precondition {
      condition     = !var.create_kms_key || (var.create_bucket && var.kms_key_arn == "")
      error_message = "A key is made together with the bucket that uses it: set create_bucket, and leave kms_key_arn empty."
    }
    precondition {
      condition     = !var.create_bucket || var.bucket_encryption != "AES256" || (var.kms_key_arn == "" && !var.create_kms_key)
      error_message = "bucket_encryption AES256 uses no key: use aws:kms or aws:kms:dsse."
    }
    precondition {
      condition     = !var.create_bucket || contains(["none", "bucket-owner-full-control"], var.object_acl)
      error_message = "A bucket that is made here has ACLs disabled and takes no object_acl but none and bucket-owner-full-control."
    }
  }
}

resource "aws_iam_role_policy" "write" {
  name = "audit-log-write"
  role = aws_iam_role.audit_log.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid    = "AllowS3Writes"
        Effect = "Allow"
        Action = concat(["s3:PutObject"], [for acl in [var.object_acl] : "s3:PutObjectAcl" if acl != "none"])
        # Test deliveries write below test/ at the same place.
        Resource = "arn:${local.partition}:s3:::${join("/", compact([var.bucket, local.policy_prefix, "*"]))}"
      }],
      [for arn in local.key_arns : {
        Sid       = "AllowKmsForS3Writes"
        Effect    = "Allow"
        Action    = "kms:GenerateDataKey"
        Resource  = arn
        Condition = local.via_s3
      }],
    )
  })
}

resource "aws_kms_key" "audit_log" {
  count               = var.create_kms_key ? 1 : 0
  description         = "Audit log objects in ${var.bucket}"
  enable_key_rotation = true
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      # The account administers the key with IAM policies, as with any key. Who reads the objects needs kms:Decrypt.
      {
        Sid       = "AdministeredByThisAccount"
        Effect    = "Allow"
        Principal = { AWS = "arn:${local.partition}:iam::${local.account}:root" }
        Action    = "kms:*"
        Resource  = "*"
      },
      local.key_policy_statement,
    ]
  })

  lifecycle {
    prevent_destroy = true # nobody could read the objects any more
  }
}

resource "aws_s3_bucket" "audit_log" {
  count               = local.bucket_count
  bucket              = var.bucket
  object_lock_enabled = var.object_lock_mode != "none"

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_public_access_block" "audit_log" {
  count                   = local.bucket_count
  bucket                  = aws_s3_bucket.audit_log[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "audit_log" {
  count  = local.bucket_count
  bucket = aws_s3_bucket.audit_log[0].id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_versioning" "audit_log" {
  count  = local.bucket_count
  bucket = aws_s3_bucket.audit_log[0].id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "audit_log" {
  count  = local.bucket_count
  bucket = aws_s3_bucket.audit_log[0].id
  rule {
    bucket_key_enabled = var.bucket_encryption == "aws:kms" # saves most calls to KMS; DSSE-KMS does not have it
    apply_server_side_encryption_by_default {
      sse_algorithm     = var.bucket_encryption
      kms_master_key_id = one(local.key_arns)
    }
  }
}

resource "aws_s3_bucket_object_lock_configuration" "audit_log" {
  count  = var.create_bucket && var.object_lock_mode != "none" ? 1 : 0
  bucket = aws_s3_bucket_versioning.audit_log[0].bucket
  rule {
    default_retention {
      mode = var.object_lock_mode
      days = var.object_lock_days
    }
  }
}

resource "aws_s3_bucket_policy" "audit_log" {
  count  = local.bucket_count
  bucket = aws_s3_bucket_public_access_block.audit_log[0].bucket
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "DenyWithoutTLS"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.audit_log[0].arn, "${aws_s3_bucket.audit_log[0].arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })
}

output "role_arn" {
  description = "The drain's roleArn"
  value       = aws_iam_role.audit_log.arn
}

output "endpoint" {
  description = "The drain's endpoint"
  value       = "s3://${join("/", compact([var.bucket, var.prefix]))}"
}

output "kms_key_arn" {
  description = "The customer managed key, if there is one"
  value       = one(local.key_arns)
}

output "key_policy_statement" {
  description = "To do by hand if kms_key_arn was given, because Terraform would replace the key's whole policy: add this statement to it, and keep those that it has"
  value       = var.kms_key_arn == "" ? null : jsonencode(local.key_policy_statement)
}
