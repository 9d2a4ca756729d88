// Counts the requests for each path, on port 3000.
const polka = require('polka');

const counts = new Map();

polka()
  .get('/count/:name', (request, response) => {
    const { name } = request.params;
    const count = (counts.get(name) ?? 0) + 1;
    counts.set(name, count);
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify({ name, count }));
  })
  .listen(3000, () => console.log('listening on port 3000'));

process.on('SIGTERM', () => process.exit(0));
