package client

import (
	"github.com/vouchsafe/vouchsafe/client/snpdevice"
	"github.com/vouchsafe/vouchsafe/client/virtualdevice"
)

var (
	_ Collector = (*snpdevice.Device)(nil)
	_ Collector = (*virtualdevice.Device)(nil)
)
