package client

import (
	"github.com/vouchsafe/vouchsafe/client/nvidiadevice"
	"github.com/vouchsafe/vouchsafe/client/snpdevice"
	"github.com/vouchsafe/vouchsafe/client/tdxdevice"
	"github.com/vouchsafe/vouchsafe/client/virtualdevice"
)

var (
	_ Collector = (*nvidiadevice.Device)(nil)
	_ Collector = (*snpdevice.Device)(nil)
	_ Collector = (*tdxdevice.Device)(nil)
	_ Collector = (*virtualdevice.Device)(nil)
)
