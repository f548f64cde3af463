package s3

import (
	"context"

	"github.com/auditdrain/auditdrain"
)

// Test writes e under test/, by the code path of every delivery but with a
// session of its own: a role that was mended or broken a minute ago shows.
// Everything that AWS, or the way to it, can be blamed for is an *Error.
func (c *Client) Test(ctx context.Context, d auditdrain.Drain, e auditdrain.Event) (key string, err error) {
	dest, err := c.Open(d, Options{Test: true})
	if err != nil {
		return "", err
	}
	defer dest.Close()
	// So that a refusal of AssumeRole can name who was refused. If even this
	// fails, AssumeRole says why.
	_, _ = c.CallerARN(ctx)
	put, err := dest.Put(ctx, e)
	return put.Key, err
}
