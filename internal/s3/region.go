package s3

import (
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/auditdrain/auditdrain/internal/iam"
)

// regions are those that the SDK's S3 client knows by name, and those whose
// partitions have no location constraint of their own in it.
var regions = func() map[string]bool {
	known := map[string]bool{
		"us-east-1":       true, // the default, so not a location constraint
		"eusc-de-east-1":  true,
		"us-iso-east-1":   true,
		"us-iso-west-1":   true,
		"us-isob-east-1":  true,
		"us-isob-west-1":  true,
		"eu-isoe-west-1":  true,
		"us-isof-east-1":  true,
		"us-isof-south-1": true,
	}
	for _, r := range types.BucketLocationConstraint("").Values() {
		if r != types.BucketLocationConstraintEu { // an old name for eu-west-1
			known[string(r)] = true
		}
	}
	return known
}()

// Regions returns the regions that are known, sorted.
func Regions() []string { return slices.Sorted(maps.Keys(regions)) }

// PartitionOf returns the AWS partition of region, and false if the SDK does
// not know the region.
func PartitionOf(region string) (partition string, known bool) {
	if !regions[region] {
		return "", false
	}
	partition, _ = iam.Partition(region)
	return partition, true
}
