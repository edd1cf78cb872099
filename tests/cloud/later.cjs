// For NODE_OPTIONS=--require: it is so many days later.
const now = Date.now;
Date.now = () => now() + Number(process.env.DAYS_LATER) * 24 * 60 * 60 * 1000;
