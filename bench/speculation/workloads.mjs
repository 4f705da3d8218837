// What is asked in the speculation benchmark: conversations of one turn, by how much of the answer is in the question.

const passage =
  "The harbour office opens at seven in the morning and closes at six in the evening. Boats longer than twelve metres must be announced " +
  "one day before they arrive. The fee for a night is eighteen euros for boats up to ten metres and twenty-six euros for longer ones. " +
  "Water and electricity are included in the fee. Guests find showers and a laundry in the white building behind the office. The small " +
  "shop on the quay sells bread, ice and fishing line from eight o'clock. Please do not wash your boat with soap while it is in the " +
  "harbour, and leave the berths near the bridge free for the ferry.";

const json = `{
  "order": 48213,
  "customer": { "name": "Amelia Hart", "email": "amelia@example.com", "phone": "555-0142" },
  "items": [
    { "sku": "KB-201", "title": "Keyboard, compact", "quantity": 2, "price": 49.5 },
    { "sku": "MS-117", "title": "Mouse, wireless", "quantity": 1, "price": 24.0 },
    { "sku": "CB-330", "title": "Cable, two metres", "quantity": 4, "price": 6.25 }
  ],
  "shipping": { "street": "12 Mill Lane", "city": "Norwich", "postcode": "NR3 1AB", "country": "UK" },
  "total": 148.0
}`;

const code = `function average(values) {
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    sum = sum + values[i];
  }
  return sum / values.length;
}

function variance(values) {
  const mean = average(values);
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    sum = sum + (values[i] - mean) * (values[i] - mean);
  }
  return sum / values.length;
}

function deviation(values) {
  return Math.sqrt(variance(values));
}`;

const article =
  "Storm Ellen reached the coast on Tuesday night with winds of up to 140 kilometres an hour. The power company said that 194,000 homes " +
  "and businesses were without electricity on Wednesday morning, most of them in the south. Repair crews had restored 60,000 connections " +
  "by noon. The railway closed the line between the two largest cities of the region after a tree fell on the tracks near the river " +
  "bridge; buses replaced the trains. Ferries stayed in port. The weather service lowered its warning from red to orange at six in the " +
  "morning and expects the wind to ease by the evening. No serious injuries were reported. The mayor thanked volunteers who had filled " +
  "sandbags along the quay, where the water rose to within ten centimetres of the road.";

const report =
  "The museum counted 412,000 visitors last year, nine per cent more than in the year before. Most came between June and September. " +
  "School classes made up a fifth of all visits. The new hall for prints and drawings opened in March and was seen by 88,000 people. The " +
  "roof of the east wing was repaired for 1.3 million euros, of which the city paid two thirds. The museum lent 147 works to other houses, " +
  "the largest number since 2009. For the coming year the director plans a show about maps, longer opening hours on Thursdays and free " +
  "entry for everybody under eighteen.";

const tickets = [
  ["A-1041", "The printer on the second floor prints every page twice.", "printing", "Sam Ortiz"],
  ["A-1042", "The printer on the third floor does not print at all.", "printing", "Lena Fuchs"],
  ["A-1043", "My password does not work on the mail server since Monday.", "access", "Sam Ortiz"],
  ["A-1044", "My password does not work on the file server since today.", "access", "Ines Roy"],
];

const ticket = ([id, text, area, person]) =>
  `Fill in this form for the ticket and change nothing else.\n\nTicket: ${id}\nText: ${text}\nArea: ${area}\nReported by: ${person}\n\n` +
  'Form:\n{ "ticket": "...", "summary": "...", "area": "...", "reportedBy": "...", "status": "open", "priority": "normal", "steps": ["check ' +
  'the device", "ask the person who reported it", "write down what was done"] }';

/** A text and then what to do with it: small models lose a task that stands before a long text. */
const about = (text, task) => `${text}\n\n${task}`;

/** Questions of each workload; those of `agentic` follow each other. */
export const workloads = {
  copy: [
    about(passage, 'Repeat the text above word for word, but write "marina" instead of "harbour".'),
    about(json, 'Repeat the text above word for word, but write "code" instead of "sku".'),
    about(`Program:\n\n${code}`, 'Write this program again word for word, with "average" renamed to "mean".'),
  ],
  summary: [
    about(article, "Summarise the article above in three sentences. Use its own words."),
    about(report, "List the numbers in the report above and what each of them means."),
    about(article, "Which facts about the trains, the ferries and the power supply does the article above give?"),
  ],
  agentic: tickets.map(ticket),
  chat: [
    "Why do leaves change their colour in autumn?",
    "I have a job interview tomorrow and I am nervous. What should I do this evening?",
    "Explain to a ten-year-old what a computer program is.",
    "What is the difference between a crocodile and an alligator?",
  ],
  random: [
    "Write a list of words that have nothing to do with each other.",
    "Tell me something I do not know about the sea, then about trains, then about salt.",
    "Make up the names of twenty imaginary towns and say one thing about each.",
  ],
};
