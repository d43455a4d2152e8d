// Keeps a Node server on loopback. fauxqs listens on every address and has no setting for it.
const net = require('node:net');

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (options, ...rest) {
  const confined = options && typeof options === 'object' ? { ...options, host: '127.0.0.1' } : options;
  return listen.call(this, confined, ...rest);
};
