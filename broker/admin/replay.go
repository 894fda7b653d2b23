package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
)

// Replay judges recorded requests again with a draft; see [broker.Broker.Replay]. progress may be nil. It has no time-out but the context's.
func (c *Client) Replay(ctx context.Context, in wire.Replay, progress func(broker.ReplayProgress)) (*broker.ReplayReport, error) {
	id := wire.ReplayPolicy.ID
	response, err := c.do(ctx, wire.ReplayPolicy.Operation, in)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, MaxAnswer)
	for lines.Scan() {
		var line wire.ReplayLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return nil, fmt.Errorf("admin: %s: %w: %w", id, ErrAnswer, err)
		}
		switch {
		case line.Error != nil:
			return nil, fmt.Errorf("admin: %s: %w", id, &Error{
				Status: http.StatusOK, Code: line.Error.Code, Message: line.Error.Message, RetryAfter: time.Duration(line.Error.RetryAfter) * time.Second,
			})
		case line.Report != nil:
			return line.Report, nil
		case line.Progress != nil && progress != nil:
			progress(*line.Progress)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("admin: %s: %w: %w", id, ErrAnswer, err)
	}
	return nil, fmt.Errorf("admin: %s: %w: it ends without a report", id, ErrAnswer)
}
